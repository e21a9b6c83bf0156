"""BigVGAN: mel frames to a waveform by transposed convolutions and anti-aliased Snakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.nn.conv import WeightNormConv, WeightNormConvTranspose
from codecbwe_jax.nn.snake import TAPS_PER_RATIO, AntiAliasedSnake
from codecbwe_jax.weights.rules import Rule


class BigVgan(nn.Module):
    """`[B, T, C]` -> `[B, T * product of up_factors]`.

    Source: NVIDIA/BigVGAN bigvgan.py (arXiv 2206.04658).

    Attributes:
      channels: width before the first stage; every stage halves it.
      up_factors, up_kernels: of each stage's transposed convolution, in samples.
      kernels, dilations: of the residual blocks that a stage averages.
      convolutions: a block follows each dilated convolution by a plain one (2) or not (1).
      has_beta, logarithmic: see `AntiAliasedSnake`.
      final: what the waveform passes through.
      final_bias: the last convolution has a bias.
      dtype: of convolutions; Snakes are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("conv_pre", "conv_pre", "wn_conv1d"),
        Rule("ups_{i}", "ups.{i}.0", "wn_conv_transpose1d"),
        Rule("resblocks_{i}/convs_{j}", "resblocks.{i}.convs.{j}", "wn_conv1d"),
        Rule("resblocks_{i}/convs{n}_{j}", "resblocks.{i}.convs{n}.{j}", "wn_conv1d"),
        Rule("resblocks_{i}/activations_{j}/{x}", "resblocks.{i}.activations.{j}.act.{x}", "array"),
        Rule("activation_post/{x}", "activation_post.act.{x}", "array"),
        Rule("conv_post", "conv_post", "wn_conv1d"),
    )

    channels: int = 1536
    up_factors: Sequence[int] = (8, 4, 2, 2, 2, 2)
    up_kernels: Sequence[int] = (16, 8, 4, 4, 4, 4)
    kernels: Sequence[int] = (3, 7, 11)
    dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    convolutions: Literal[1, 2] = 2
    has_beta: bool = True
    logarithmic: bool = True
    final: Literal["tanh", "clip", "none"] = "clip"
    final_bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @property
    def hop_length(self) -> int:
        """Samples for each frame."""
        return math.prod(self.up_factors)

    def frames_seen(self) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last frame that each sample of frame 0 depends on, int
        `[hop_length]`."""
        snake = TAPS_PER_RATIO - 1
        blocks = max(
            sum(
                (kernel // 2) * (d + self.convolutions - 1) + self.convolutions * snake
                for d in dilations
            )
            for kernel, dilations in zip(self.kernels, self.dilations, strict=True)
        )
        first = last = np.arange(self.hop_length)
        first, last = first - 3 - snake, last + 3 + snake
        for factor, taps in zip(reversed(self.up_factors), reversed(self.up_kernels), strict=True):
            side = (taps - factor) // 2
            first, last = first - blocks + side - taps + 1, last + blocks + side
            first, last = -(-first // factor), last // factor
        return first - 3, last + 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self._conv(self.channels, 7, "conv_pre")(x)
        stages = zip(self.up_factors, self.up_kernels, strict=True)
        for i, (factor, taps) in enumerate(stages):
            width, side = self.channels // 2 ** (i + 1), (taps - factor) // 2
            up = WeightNormConvTranspose(width, taps, factor, side, self.dtype, name=f"ups_{i}")
            x = up(x)
            blocks = [
                SnakeResidualBlock(
                    kernel,
                    dilations,
                    self.convolutions,
                    self.has_beta,
                    self.logarithmic,
                    self.dtype,
                    name=f"resblocks_{i * len(self.kernels) + j}",
                )
                for j, (kernel, dilations) in enumerate(
                    zip(self.kernels, self.dilations, strict=True)
                )
            ]
            x = sum(block(x) for block in blocks) / len(blocks)
        post = AntiAliasedSnake(self.has_beta, self.logarithmic, name="activation_post")
        x = post(x.astype(jnp.float32))
        x = self._conv(1, 7, "conv_post", self.final_bias)(x)[..., 0].astype(jnp.float32)
        match self.final:
            case "tanh":
                return jnp.tanh(x)
            case "clip":
                return jnp.clip(x, -1.0, 1.0)
        return x

    def _conv(self, features: int, taps: int, name: str, bias: bool = True) -> WeightNormConv:
        sides = ((taps // 2, taps // 2),)
        return WeightNormConv(features, (taps,), (1,), sides, self.dtype, use_bias=bias, name=name)


class SnakeResidualBlock(nn.Module):
    """Snake, dilated convolution (and Snake, convolution), added to the input, for each dilation.

    Attributes: as of `BigVgan`, for one block.
    """

    kernel: int
    dilations: Sequence[int]
    convolutions: Literal[1, 2]
    has_beta: bool
    logarithmic: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for j, dilation in enumerate(self.dilations):
            y = x
            for n in range(self.convolutions):
                place = self.convolutions * j + n
                act = AntiAliasedSnake(self.has_beta, self.logarithmic, name=f"activations_{place}")
                spread = dilation if n == 0 else 1
                side = spread * (self.kernel - 1) // 2
                name = f"convs{n + 1}_{j}" if self.convolutions == 2 else f"convs_{j}"
                conv = WeightNormConv(
                    x.shape[-1],
                    (self.kernel,),
                    (1,),
                    ((side, side),),
                    self.dtype,
                    (spread,),
                    name=name,
                )
                y = conv(act(y.astype(jnp.float32)))
            x = x + y
        return x
