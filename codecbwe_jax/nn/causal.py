"""Layers that run on a whole signal or on one piece of it after another, with equal results.

What a layer must know of the past is a variable of the collection "stream": given to `apply` beside
the parameters, and returned by it where the caller makes the collection mutable. Without it a layer
begins. `begin` gives the state that a stream begins with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.nn.conv import norm_per_output
from codecbwe_jax.nn.init import torch_uniform

State = Mapping[str, Any]


def recall(module: nn.Module, name: str, at_first: jax.Array) -> jax.Array:
    """What a module remembers under a name; `at_first` at a stream's beginning."""
    if module.is_mutable_collection("begin"):
        module.put_variable("begin", name, at_first)
    return module.get_variable("stream", name, at_first)


def remember(module: nn.Module, name: str, value: jax.Array) -> None:
    """Keep a value for the next piece, if the caller wants the state."""
    if module.is_mutable_collection("stream"):
        module.put_variable("stream", name, value)


def with_past(module: nn.Module, x: jax.Array, frames: int, name: str = "past") -> jax.Array:
    """`[B, T, ...]` -> `[B, frames + T, ...]`: the last frames of what came before, zeros at
    first, in front."""
    past = recall(module, name, jnp.zeros((x.shape[0], frames, *x.shape[2:]), x.dtype))
    joined = jnp.concatenate([past, x], axis=1)
    remember(module, name, joined[:, joined.shape[1] - frames :])
    return joined


def begin(network: nn.Module, params: Any, *inputs: jax.Array) -> State:
    """The state that a network's stream begins with, for inputs of this batch size."""
    return network.apply({"params": params}, *inputs, mutable=["begin"])[1]["begin"]


class CausalConv(nn.Module):
    """Convolution that sees no later frame: `[B, T, C]` -> `[B, T / stride, features]`.

    Output frame t sees inputs up to frame (t + 1) * stride - 1; T is a multiple of the stride.

    Attributes:
      features: output channels.
      kernel_size: taps.
      stride, dilation: in frames.
      weight_norm: parameters are "v" and "g" (see `WeightNormConv`), until `folded`.
      use_bias: add a bias.
    """

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    weight_norm: bool = False
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, x.shape[-1], self.features)
        init = torch_uniform(math.prod(shape[:2]))
        past = (self.kernel_size - 1) * self.dilation + 1 - self.stride
        y = jax.lax.conv_general_dilated(
            with_past(self, x, past),
            self._kernel(shape, init),
            (self.stride,),
            "VALID",
            rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return y + self.param("bias", init, (self.features,)) if self.use_bias else y

    def _kernel(self, shape: tuple[int, ...], init: nn.initializers.Initializer) -> jax.Array:
        if not self.weight_norm or self.has_variable("params", "kernel"):
            return self.param("kernel", init, shape)
        v = self.param("v", init, shape)
        g = self.param("g", lambda key: norm_per_output(v))
        return v * (g / norm_per_output(v))


def folded(params: Any) -> Any:
    """Parameters with each weight norm's "v" and "g" made into the "kernel" that they stand for,
    so that a stream does not compute it again for every piece."""
    if not isinstance(params, Mapping):
        return params
    if {"v", "g"} <= params.keys():
        rest = {k: x for k, x in params.items() if k not in ("v", "g")}
        return {**rest, "kernel": params["v"] * (params["g"] / norm_per_output(params["v"]))}
    return {name: folded(inner) for name, inner in params.items()}


class Gru(nn.Module):
    """Gated recurrent unit as torch.nn.GRU computes it: `[B, T, C]` -> `[B, T, size]`.

    Attributes:
      size: width of the state.
    """

    size: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = torch_uniform(self.size)
        w_in = self.param("weight_ih_l0", init, (x.shape[-1], 3 * self.size))
        w_state = self.param("weight_hh_l0", init, (self.size, 3 * self.size))
        b_in = self.param("bias_ih_l0", init, (3 * self.size,))
        b_state = self.param("bias_hh_l0", init, (3 * self.size,))

        def step(h: jax.Array, given: jax.Array) -> tuple[jax.Array, jax.Array]:
            reset, update, new = jnp.split(given, 3, axis=-1)
            own_reset, own_update, own_new = jnp.split(h @ w_state + b_state, 3, axis=-1)
            reset = nn.sigmoid(reset + own_reset)
            update = nn.sigmoid(update + own_update)
            new = jnp.tanh(new + reset * own_new)
            h = (1 - update) * new + update * h
            return h, h

        h = recall(self, "state", jnp.zeros((x.shape[0], self.size), x.dtype))
        h, outputs = jax.lax.scan(step, h, (x @ w_in + b_in).swapaxes(0, 1), unroll=2)
        remember(self, "state", h)
        return outputs.swapaxes(0, 1)
