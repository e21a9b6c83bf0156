"""Depthwise 2-D convolution. Channels last."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn


class ReflectDepthwiseConv(nn.Module):
    """Depthwise 2-D convolution of the same size, the edges reflected: `[B, T, F, C]` -> the same.

    Written as shifted multiply-adds, as `nn.conv.DepthwiseConv`: 10 to 25 times faster on CPU than
    XLA's grouped convolution.

    Attributes:
      kernel_size: odd number of taps along both axes.
      dtype: of the computation.
      kernel_init: initialiser of the kernel `[kernel_size, kernel_size, 1, C]`.
    """

    kernel_size: int
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve.

        Raises:
          ValueError: if an axis is too short to be reflected.
        """
        taps, side = self.kernel_size, self.kernel_size // 2
        if min(x.shape[1:3]) <= side:
            raise ValueError(f"{x.shape[1]} x {x.shape[2]} is too small to reflect {side}")
        kernel = self.param("kernel", self.kernel_init, (taps, taps, 1, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        widths = ((0, 0), (side, side), (side, side), (0, 0))
        x = jnp.pad(x.astype(self.dtype), widths, mode="reflect")
        # fused with the sum, the reflection would be made anew for each tap: 3 times slower
        x = jax.lax.optimization_barrier(x)
        return depthwise(x, kernel[:, :, 0].astype(self.dtype)) + bias.astype(self.dtype)


@jax.custom_vjp
def depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Where a kernel `[h, w, C]` lies within x: `[B, T, F, C]` -> `[B, T - h + 1, F - w + 1, C]`.

    Its gradient is written out: the one that JAX derives, sums of padded arrays, takes 2 to 4 times
    as long to run on CPU and 3 to 7 times as long to compile.
    """
    h, w, _ = kernel.shape
    frames, bins = x.shape[1] - h + 1, x.shape[2] - w + 1
    taps = [x[:, i : i + frames, j : j + bins] * kernel[i, j] for i in range(h) for j in range(w)]
    return sum(taps[1:], taps[0])


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return depthwise(x, kernel), (x, kernel)


def _backward(given: tuple[jax.Array, jax.Array], slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = given
    h, w, _ = kernel.shape
    frames, bins = slope.shape[1:3]
    wide = jnp.pad(slope, ((0, 0), (h - 1, h - 1), (w - 1, w - 1), (0, 0)))
    of_x = depthwise(jax.lax.optimization_barrier(wide), kernel[::-1, ::-1])

    def row(i: jax.Array) -> jax.Array:
        seen = jax.lax.dynamic_slice_in_dim(x, i, frames, axis=1)
        return jnp.stack([jnp.sum(seen[:, :, j : j + bins] * slope, (0, 1, 2)) for j in range(w)])

    return of_x, jax.lax.map(row, jnp.arange(h))


depthwise.defvjp(_forward, _backward)
