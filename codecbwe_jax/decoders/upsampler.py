"""A Snake upsampler between a backbone and a second head (LinaCodec)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.decoders.transformer import group_norm
from codecbwe_jax.nn.conv import WeightNormConvTranspose
from codecbwe_jax.nn.lengths import zero_after
from codecbwe_jax.nn.snake import Snake
from codecbwe_jax.weights.rules import Rule


class SnakeUpsampler(nn.Module):
    """Frames at a multiple of the rate, of the same width: `[B, T, C]` -> `[B, T * product, C]`.

    Source: ysharma3501/LinaCodec upsampler_block.py.

    Attributes:
      factors: of each stage; every stage halves the width, which stays a multiple of 32.
      kernel_sizes: of the stages' transposed convolutions; kernel - factor is even.
      dtype: of convolutions; norms and Snake are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("up_{i}", "upsample_layers.{i}", "wn_conv_transpose1d"),
        Rule("resnet_{i}/norm{n}", "resnet_blocks.{i}.norm{n}", "norm"),
        Rule("resnet_{i}/conv{n}", "resnet_blocks.{i}.conv{n}", "conv"),
        Rule("resnet_{i}/snake{n}", "resnet_blocks.{i}.snake{n}", "snake"),
        Rule("out_proj", "out_proj", "dense"),
        Rule("final_snake", "final_snake", "snake"),
    )

    factors: Sequence[int] = (2,)
    kernel_sizes: Sequence[int] = (8,)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Upsample; `lengths` are frames of each item."""
        width, size = x.shape[-1], x.shape[-1]
        for i, (factor, taps) in enumerate(zip(self.factors, self.kernel_sizes, strict=True)):
            size //= 2
            side = (taps - factor) // 2
            up = WeightNormConvTranspose(size, taps, factor, side, self.dtype, name=f"up_{i}")
            x = up(zero_after(x, lengths)).astype(jnp.float32)
            lengths = None if lengths is None else lengths * factor
            x = SnakeBlock(self.dtype, name=f"resnet_{i}")(x, lengths)
        x = nn.Dense(width, dtype=self.dtype, name="out_proj")(x).astype(jnp.float32)
        return Snake(name="final_snake")(x)


class SnakeBlock(nn.Module):
    """GroupNorm, Snake, convolution, twice, plus the input."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        y = x
        for n in (1, 2):
            y = Snake(name=f"snake{n}")(group_norm(y, lengths, f"norm{n}"))
            conv = nn.Conv(x.shape[-1], (3,), padding=((1, 1),), dtype=self.dtype, name=f"conv{n}")
            y = conv(zero_after(y, lengths)).astype(jnp.float32)
        return x + y
