"""Convolution with spectral normalisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.nn.init import torch_uniform

EPS = 1e-12


class SpectralNormConv(nn.Module):
    """1-D convolution whose kernel is divided by an estimate of its largest singular value (torch
    nn.utils.spectral_norm): `[B, T, C]` -> `[B, frames, features]`.

    The estimate's two vectors are variables of the collection "norms". Where a caller makes that
    mutable, one power iteration moves them before they are used.

    Attributes:
      features: output channels.
      kernel_size, stride, padding, groups: of the convolution; padding on both sides.
      dtype: of the convolution; the estimate is float32.
    """

    features: int
    kernel_size: int
    stride: int
    padding: int
    groups: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, x.shape[-1] // self.groups, self.features)
        fan_in = shape[0] * shape[1]
        kernel = self.param("kernel", torch_uniform(fan_in), shape)
        bias = self.param("bias", torch_uniform(fan_in), (self.features,))
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            (kernel / self._norm(kernel)).astype(self.dtype),
            (self.stride,),
            [(self.padding, self.padding)],
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=self.groups,
        )
        return y + bias.astype(self.dtype)

    def _norm(self, kernel: jax.Array) -> jax.Array:
        # torch's matrix: a row for each output channel, columns by input channel, then tap
        matrix = kernel.transpose(2, 1, 0).reshape(self.features, -1)

        def start(size: int) -> jax.Array:
            return _unit(jax.random.normal(self.make_rng("params"), (size,)))

        u = self.variable("norms", "u", start, matrix.shape[0])
        v = self.variable("norms", "v", start, matrix.shape[1])
        if self.is_mutable_collection("norms") and not self.is_initializing():
            fixed = jax.lax.stop_gradient(matrix)
            v.value = _unit(fixed.T @ u.value)
            u.value = _unit(fixed @ v.value)
        return u.value @ matrix @ v.value


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), EPS)
