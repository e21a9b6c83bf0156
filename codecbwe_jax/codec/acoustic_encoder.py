"""The acoustic encoder: strided convolutions with anti-aliased Snake, in BigCodec's manner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.nn.lengths import zero_after
from codecbwe_jax.nn.snake import AntiAliasedSnake
from codecbwe_jax.weights.rules import Rule

DILATIONS = (1, 3, 9)
LECUN_NORMAL = nn.initializers.lecun_normal()
# Of the residual branches. At full variance their sums grow through fifteen units until the
# quantiser's tanh is saturated, and nothing is learnt.
BRANCH_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class AcousticEncoder(nn.Module):
    """Waveform -> features, one frame a hop (the product of the ratios).

    Not causal: a frame depends on 29 frames at each side at official size. 38.5 M parameters.
    Source: zhenye234/X-Codec-2.0 vq/codec_encoder.py.

    Attributes:
      width: channels of the first convolution, doubled at every stride.
      ratios: strides.
      features: channels of the output.
      dtype: of the residual branches' convolutions, six sevenths of the work. The trunk's
        convolutions and Snake are float32: in bfloat16 they change one token in twenty.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("conv{n}", "conv{n}", "conv"),
        Rule("snake1/{p}", "snake1.act.{p}", "array"),
        Rule("block_{i}/res_unit{u}/conv{n}", "block.{i}.res_unit{u}.conv{n}", "conv"),
        Rule(
            "block_{i}/res_unit{u}/snake{n}/{p}", "block.{i}.res_unit{u}.snake{n}.act.{p}", "array"
        ),
        Rule("block_{i}/snake1/{p}", "block.{i}.snake1.act.{p}", "array"),
        Rule("block_{i}/conv1", "block.{i}.conv1", "conv"),
    )

    width: int
    ratios: Sequence[int]
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """`[B, samples]` -> `[B, samples // hop, features]`.

        Args:
          waveform: at 16 kHz.
          lengths: samples of each item, whole hops (`nn.lengths`).
        """
        x = zero_after(waveform[..., None].astype(jnp.float32), lengths)
        x = _conv(self.width, 7, jnp.float32, "conv1")(x)
        for i, stride in enumerate(self.ratios):
            x = EncoderBlock(stride, self.dtype, name=f"block_{i}")(x, lengths)
            lengths = None if lengths is None else lengths // stride
        x = zero_after(AntiAliasedSnake(name="snake1")(x, lengths), lengths)
        return _conv(self.features, 3, jnp.float32, "conv2")(x)


class EncoderBlock(nn.Module):
    """Three residual units, Snake, a strided convolution that doubles the channels."""

    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        for i, dilation in enumerate(DILATIONS):
            x = ResidualUnit(dilation, self.dtype, name=f"res_unit{i + 1}")(x, lengths)
        x = zero_after(AntiAliasedSnake(name="snake1")(x, lengths), lengths)
        channels, side = x.shape[-1], -(-self.stride // 2)
        return nn.Conv(
            2 * channels,
            (2 * self.stride,),
            (self.stride,),
            ((side, side),),
            name="conv1",
        )(x)


class ResidualUnit(nn.Module):
    """Snake, dilated convolution, Snake, pointwise convolution, plus the input."""

    dilation: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        channels = x.shape[-1]
        y = zero_after(AntiAliasedSnake(name="snake1")(x, lengths), lengths)
        y = _conv(channels, 7, self.dtype, "conv1", self.dilation, BRANCH_INIT)(y)
        y = y.astype(jnp.float32)
        y = AntiAliasedSnake(name="snake2")(y, lengths)
        y = _conv(channels, 1, self.dtype, "conv2", init=BRANCH_INIT)(y)
        return x + y.astype(jnp.float32)


def _conv(
    features: int,
    taps: int,
    dtype: jnp.dtype,
    name: str,
    dilation: int = 1,
    init: nn.initializers.Initializer = LECUN_NORMAL,
) -> nn.Conv:
    side = dilation * (taps // 2)
    return nn.Conv(
        features,
        (taps,),
        padding=((side, side),),
        kernel_dilation=(dilation,),
        dtype=dtype,
        kernel_init=init,
        name=name,
    )
