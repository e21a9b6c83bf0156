"""Discriminators of waveforms by strided, grouped convolutions, at several rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.discriminators.mpd import Judgement
from codecbwe_jax.fields import Size
from codecbwe_jax.nn.conv import WeightNormConv
from codecbwe_jax.nn.spectral_norm import SpectralNormConv
from codecbwe_jax.weights.rules import Rule

SLOPE = 0.1


class ScaleDiscriminator(nn.Module):
    """Judges a waveform as it is.

    Attributes:
      channels, kernels, strides, groups: of the convolutions.
      norm: of the kernels; "none" with valid convolutions (HiFi-GAN+), else of the same length.
      last_kernel: of the convolution that gives the score.
      dtype: of the convolutions.
    """

    channels: Sequence[int]
    kernels: Sequence[int]
    strides: Sequence[int]
    groups: Sequence[int]
    norm: Literal["weight", "spectral", "none"] = "weight"
    last_kernel: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> Judgement:
        """`[B, N]` -> score `[B, frames]` and maps `[B, frames', C]`, the score last."""
        x, maps = waveform[..., None], []
        layers = zip(self.channels, self.kernels, self.strides, self.groups, strict=True)
        for i, (features, taps, stride, groups) in enumerate(layers):
            x = nn.leaky_relu(self._conv(features, taps, stride, groups, f"convs_{i}")(x), SLOPE)
            maps.append(x)
        x = self._conv(1, self.last_kernel, 1, 1, "conv_post")(x)
        return x[..., 0], [*maps, x]

    def _conv(self, features: int, taps: int, stride: int, groups: int, name: str) -> nn.Module:
        side = taps // 2
        match self.norm:
            case "spectral":
                return SpectralNormConv(features, taps, stride, side, groups, self.dtype, name=name)
            case "weight":
                return WeightNormConv(
                    features,
                    (taps,),
                    (stride,),
                    ((side, side),),
                    self.dtype,
                    groups=groups,
                    name=name,
                )
        return nn.Conv(
            features,
            (taps,),
            (stride,),
            padding="VALID",
            feature_group_count=groups,
            dtype=self.dtype,
            name=name,
        )


class MultiScaleDiscriminator(nn.Module):
    """HiFi-GAN's: the waveform, and twice its mean over four samples at half the rate.

    `[B, N]` -> a list of (score, maps). The first has spectral norms, the others weight norms.
    Source: jik876/hifi-gan models.py (arXiv 2010.05646). 29.6 M parameters at the default widths.

    Attributes:
      channels, groups: of the convolutions.
      dtype: of the convolutions.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("scales_0/convs_{j}", "discriminators.0.convs.{j}", "spectral_conv"),
        Rule("scales_0/conv_post", "discriminators.0.conv_post", "spectral_conv"),
        Rule("scales_1/convs_{j}", "discriminators.1.convs.{j}", "wn_conv1d"),
        Rule("scales_1/conv_post", "discriminators.1.conv_post", "wn_conv1d"),
        Rule("scales_2/convs_{j}", "discriminators.2.convs.{j}", "wn_conv1d"),
        Rule("scales_2/conv_post", "discriminators.2.conv_post", "wn_conv1d"),
    )
    # of the collection "norms"
    state_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("scales_0/convs_{j}/{x}", "discriminators.0.convs.{j}.weight_{x}", "array"),
        Rule("scales_0/conv_post/{x}", "discriminators.0.conv_post.weight_{x}", "array"),
    )

    channels: Sequence[Size] = (128, 128, 256, 512, 1024, 1024, 1024)
    groups: Sequence[Size] = (1, 4, 16, 16, 16, 16, 1)
    dtype: jnp.dtype = jnp.float32

    kernels: ClassVar[tuple[int, ...]] = (15, 41, 41, 41, 41, 41, 5)
    strides: ClassVar[tuple[int, ...]] = (1, 2, 2, 4, 4, 1, 1)

    @nn.compact
    def __call__(self, waveform: jax.Array) -> list[Judgement]:
        judgements = []
        for i, norm in enumerate(("spectral", "weight", "weight")):
            waveform = halved(waveform) if i else waveform
            layers = (self.channels, self.kernels, self.strides, self.groups)
            scale = ScaleDiscriminator(*layers, norm, dtype=self.dtype, name=f"scales_{i}")
            judgements.append(scale(waveform))
        return judgements


def halved(waveform: jax.Array) -> jax.Array:
    """`[B, N]` -> means of four samples, two apart, with two zeros at both ends."""
    padded = jnp.pad(waveform, ((0, 0), (2, 2)))
    frames = (padded.shape[1] - 4) // 2 + 1
    return sum(padded[:, k : k + 2 * frames - 1 : 2] for k in range(4)) / 4
