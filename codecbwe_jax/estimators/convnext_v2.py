"""The 2-D ConvNeXt-V2 block, and the stages of a U-Net of it. `[B, T, F, C]`: frames, bins."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.nn.depthwise import ReflectDepthwiseConv
from codecbwe_jax.nn.init import torch_uniform
from codecbwe_jax.weights.rules import Rule, under

EPS = 1e-6
# timm's truncated normal cuts at -2 and 2, a hundred deviations away
INIT = nn.initializers.normal(0.02)


class ResponseNorm(nn.Module):
    """Each channel by its L2 norm over an item's frames and bins, which is divided by the mean of
    all channels': `[B, T, F, C]` -> float32 `[B, T, F, C]`.

    Woo et al., "ConvNeXt V2" (2023), section 3.2.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape, zeros = (1, 1, 1, x.shape[-1]), nn.initializers.zeros
        gamma, beta = self.param("gamma", zeros, shape), self.param("beta", zeros, shape)
        x = x.astype(jnp.float32)
        # GELU gives exact zeros, where a root has no slope
        power = jnp.sum(jnp.square(x), axis=(1, 2), keepdims=True)
        norm = jnp.sqrt(jnp.maximum(power, 1e-30))
        share = norm / (jnp.mean(norm, axis=-1, keepdims=True) + EPS)
        return gamma * (x * share) + beta + x


class ConvNeXtV2Block(nn.Module):
    """Depthwise conv, LayerNorm, two linear layers with GELU and a response norm, residual.

    `[B, T, F, C]` -> `[B, T, F, C]`, at least 4 frames and bins. Source: woongzip1/UniverSR
    universr/models/unet.py Block.

    Attributes:
      dtype: of convolutions and matrix products; norms reduce in float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("dwconv", "dwconv", "conv"),
        Rule("norm", "norm", "norm"),
        Rule("pwconv{n}", "pwconv{n}", "dense"),
        Rule("grn/{x}", "grn.{x}", "array"),
    )

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = x.shape[-1]
        y = ReflectDepthwiseConv(7, self.dtype, INIT, name="dwconv")(x)
        y = nn.LayerNorm(EPS, dtype=self.dtype, name="norm")(y)
        y = nn.Dense(4 * size, dtype=self.dtype, kernel_init=INIT, name="pwconv1")(y)
        y = ResponseNorm(name="grn")(nn.gelu(y, approximate=False))
        return x + nn.Dense(size, dtype=self.dtype, kernel_init=INIT, name="pwconv2")(y)


class TimedBlock(nn.Module):
    """The block after a step that the time decides, one for each channel.

    `[B, T, F, C]` and an embedding `[B, time_size]` -> `[B, T, F, C]`. Source: as of the block,
    BlockWithEmbedding.

    Attributes:
      dtype: as of the block.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *under("block", "block", ConvNeXtV2Block.torch_rules),
        Rule("time_adapter_{n}", "time_adapter.{n}", "dense"),
    )

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        step = nn.silu(self._dense(time.shape[-1], 0)(time))
        step = self._dense(x.shape[-1], 2)(step)
        return ConvNeXtV2Block(self.dtype, name="block")(x + step[:, None, None])

    def _dense(self, size: int, n: int) -> nn.Dense:
        return nn.Dense(size, dtype=self.dtype, kernel_init=INIT, name=f"time_adapter_{n}")


BLOCKS = under("blocks_{j}", "blocks.{j}", TimedBlock.torch_rules)


def timed_blocks(x: jax.Array, time: jax.Array, depth: int, dtype: jnp.dtype) -> jax.Array:
    """Blocks of one width, made in the module that calls."""
    for i in range(depth):
        x = TimedBlock(dtype, name=f"blocks_{i}")(x, time)
    return x


class Stage(nn.Module):
    """Blocks: `[B, T, F, C]` and the time `[B, time_size]` -> `[B, T, F, C]`.

    Attributes:
      depth: how many.
      dtype: of convolutions and matrix products.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = BLOCKS

    depth: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        return timed_blocks(x, time, self.depth, self.dtype)


class Down(nn.Module):
    """Blocks, then half as many frames and bins: `[B, T, F, C]` -> `[B, T / 2, F / 2, features]`.

    Attributes:
      depth: blocks.
      features: width of the result.
      dtype: of convolutions and matrix products.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *BLOCKS,
        Rule("downsampler_0", "downsampler.0", "norm"),
        Rule("downsampler_1", "downsampler.1", "conv"),
    )

    depth: int
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        x = timed_blocks(x, time, self.depth, self.dtype)
        x = nn.LayerNorm(EPS, dtype=self.dtype, name="downsampler_0")(x)
        square = (2, 2)
        halved = nn.Conv(
            self.features,
            square,
            square,
            "VALID",
            dtype=self.dtype,
            kernel_init=INIT,
            name="downsampler_1",
        )
        return halved(x)


class Up(nn.Module):
    """Twice as many frames and bins, then blocks: `[B, T, F, C]` -> `[B, 2 T, 2 F, features]`.

    Attributes: as of `Down`.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (*BLOCKS, Rule("upsampler", "upsampler", "conv"))

    depth: int
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        x = Doubled(self.features, self.dtype, name="upsampler")(x)
        return timed_blocks(x, time, self.depth, self.dtype)


class Doubled(nn.Module):
    """Transposed convolution of 2 x 2 taps that do not overlap: `[B, T, F, C]` ->
    `[B, 2 T, 2 F, features]`.

    A matrix product; its gradient is 7 times faster on CPU than a transposed convolution's.

    Attributes:
      features: width of the result.
      dtype: of the product.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        items, frames, bins, size = x.shape
        init = torch_uniform(4 * self.features)
        kernel = self.param("kernel", init, (2, 2, self.features, size))
        bias = self.param("bias", init, (self.features,))
        taps = jnp.einsum("btfc,hwdc->bthfwd", x.astype(self.dtype), kernel.astype(self.dtype))
        taps = taps.reshape(items, 2 * frames, 2 * bins, self.features)
        return taps + bias.astype(self.dtype)
