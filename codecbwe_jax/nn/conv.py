"""Convolutions that Linen lacks, or that XLA runs slowly in Linen's form. Channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.nn.init import torch_uniform


class DepthwiseConv(nn.Module):
    """Depthwise 1-D convolution, zero-padded to the same length: `[B, T, C]` -> `[B, T, C]`.

    Written as shifted multiply-adds, which XLA fuses into one loop. As a grouped convolution it
    runs 50 to 230 times slower on CPU.

    Attributes:
      kernel_size: odd number of taps.
      dtype: of the computation.
      kernel_init: initialiser of the kernel `[kernel_size, C]`.
    """

    kernel_size: int
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (self.kernel_size, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        side, frames = self.kernel_size // 2, x.shape[1]
        x = jnp.pad(x, ((0, 0), (side, side), (0, 0)))
        taps = [x[:, k : k + frames] * kernel[k] for k in range(self.kernel_size)]
        return sum(taps[1:], taps[0]) + bias


class WeightNormConv(nn.Module):
    """Convolution with weight normalisation, trained in the form that PyTorch stores: the kernel
    is `g * v / ||v||`, with one norm for each output channel (torch weight_norm, dim 0).

    Attributes:
      features: output channels.
      kernel_size: taps along each axis.
      strides: along each axis.
      padding: (left, right) along each axis.
      dtype: of the convolution; the normalisation is float32.
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        fan_in = math.prod(shape[:-1])
        v = self.param("v", torch_uniform(fan_in), shape)
        g = self.param("g", lambda key, size: norm_per_output(v), (self.features,))
        bias = self.param("bias", torch_uniform(fan_in), (self.features,))
        kernel = v * (g / norm_per_output(v))
        spatial = "WHD"[: len(self.kernel_size)][::-1]
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=self.strides,
            padding=self.padding,
            dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        )
        return y + bias.astype(self.dtype)


def norm_per_output(v: jax.Array) -> jax.Array:
    """L2 norm of a kernel `[..., in, out]` for each output channel, float32 `[out]`."""
    return jnp.sqrt(jnp.sum(jnp.square(v), axis=tuple(range(v.ndim - 1))))
