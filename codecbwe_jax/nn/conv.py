"""Convolutions that Linen lacks, or that XLA runs slowly in Linen's form. Channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.stft import overlap_add
from codecbwe_jax.nn.init import torch_uniform

# Channels last, by the rank of the kernel.
LAYOUTS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC")}


class DepthwiseConv(nn.Module):
    """Depthwise 1-D convolution, zero-padded to the same length: `[B, T, C]` -> `[B, T, C]`.

    Written as shifted multiply-adds, which XLA fuses into one loop. As a grouped convolution it
    runs 50 to 230 times slower on CPU.

    Attributes:
      kernel_size: odd number of taps.
      dtype: of the computation.
      kernel_init: initialiser of the kernel `[kernel_size, C]`.
      causal: see no later frame.
      use_bias: add a bias.
    """

    kernel_size: int
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)
    causal: bool = False
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (self.kernel_size, x.shape[-1]))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        frames, later = x.shape[1], 0 if self.causal else self.kernel_size // 2
        x = jnp.pad(x, ((0, 0), (self.kernel_size - 1 - later, later), (0, 0)))
        taps = [x[:, k : k + frames] * kernel[k] for k in range(self.kernel_size)]
        y = sum(taps[1:], taps[0])
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (x.shape[-1],)).astype(self.dtype)
        return y


class WeightNormConv(nn.Module):
    """Convolution with weight normalisation, trained in the form that PyTorch stores: the kernel
    is `g * v / ||v||`, with one norm for each output channel (torch weight_norm, dim 0).

    Attributes:
      features: output channels.
      kernel_size: taps along each axis.
      strides: along each axis.
      padding: (left, right) along each axis.
      dtype: of the convolution; the normalisation is float32.
      dilation: along each axis; None: 1.
      groups: of channels.
      use_bias: add a bias.
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    dtype: jnp.dtype = jnp.float32
    dilation: Sequence[int] | None = None
    groups: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
        fan_in = math.prod(shape[:-1])
        v = self.param("v", torch_uniform(fan_in), shape)
        g = self.param("g", lambda key, size: norm_per_output(v), (self.features,))
        kernel = v * (g / norm_per_output(v))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=LAYOUTS[len(shape)],
            feature_group_count=self.groups,
        )
        if self.use_bias:
            y = y + self.param("bias", torch_uniform(fan_in), (self.features,)).astype(self.dtype)
        return y


class WeightNormConvTranspose(nn.Module):
    """Transposed 1-D convolution with weight normalisation, as torch's weight_norm stores it (one
    norm for each input channel): `[B, T, C]` -> `[B, (T - 1) * stride + kernel_size - 2 * padding,
    features]`.

    One matrix product whose columns are added at shifted places.

    Attributes:
      features: output channels.
      kernel_size: taps.
      stride: of the output.
      padding: output samples cut from both ends.
      dtype: of the product; the normalisation is float32.
    """

    features: int
    kernel_size: int
    stride: int
    padding: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.features, x.shape[-1])
        init = torch_uniform(self.kernel_size * self.features)
        v = self.param("v", init, shape)
        g = self.param("g", lambda key, size: norm_per_output(v), (x.shape[-1],))
        bias = self.param("bias", init, (self.features,))
        kernel = (v * (g / norm_per_output(v))).astype(self.dtype)
        columns = jnp.einsum("btc,kfc->bftk", x.astype(self.dtype), kernel)
        y = overlap_add(columns, self.stride).swapaxes(1, 2)
        return y[:, self.padding : y.shape[1] - self.padding] + bias.astype(self.dtype)


def norm_per_output(v: jax.Array) -> jax.Array:
    """L2 norm of a kernel `[..., in, out]` for each output channel, float32 `[out]`."""
    return jnp.sqrt(jnp.sum(jnp.square(v), axis=tuple(range(v.ndim - 1))))
