"""Convolutions that Linen lacks, or that XLA runs slowly in Linen's form. Channels last."""

from __future__ import annotations

import functools
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
        if len(shape) == 3 and self.groups == 1 and set(self.dilation or ()) <= {1}:
            y = conv1d(x, kernel, self.strides[0], self.padding[0])
        else:
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv1d(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    """1-D convolution whose gradient with respect to x is quick on CPU.

    There XLA's own (a convolution over x with zeros between its strides) takes a quarter longer
    than one matrix product whose columns are added at shifted places.

    Args:
      x: `[B, T, C]`.
      kernel: `[taps, C, F]`.
      stride: in frames.
      padding: zeros (before, after).

    Returns:
      `[B, (T + padding - taps) // stride + 1, F]`.
    """
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,), [padding], dimension_numbers=LAYOUTS[3]
    )


def _conv1d_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv1d(x, kernel, stride, padding), (x, kernel)


def _conv1d_backward(
    stride: int, padding: tuple[int, int], saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    plain = conv1d.fun

    def by_convolution(dy: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: plain(x, kernel, stride, padding), x)[1](dy)[0]

    def by_product(dy: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
        frames, taps = dy.shape[1], kernel.shape[0]
        columns = jnp.einsum("btf,kcf->kbtc", dy, kernel)
        dx = jnp.zeros((x.shape[0], x.shape[1] + sum(padding), x.shape[2]), x.dtype)
        for k in range(taps):
            dx = dx.at[:, k : k + (frames - 1) * stride + 1 : stride].add(columns[k])
        return dx[:, padding[0] : padding[0] + x.shape[1]]

    dx = jax.lax.platform_dependent(dy, x, kernel, cpu=by_product, default=by_convolution)
    dkernel = jax.vjp(lambda k: plain(x, k, stride, padding), kernel)[1](dy)[0]
    return dx, dkernel


conv1d.defvjp(_conv1d_forward, _conv1d_backward)


def norm_per_output(v: jax.Array) -> jax.Array:
    """L2 norm of a kernel `[..., in, out]` for each output channel, float32 `[out]`."""
    return jnp.sqrt(jnp.sum(jnp.square(v), axis=tuple(range(v.ndim - 1))))
