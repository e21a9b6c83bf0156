"""Multi-period discriminator (HiFi-GAN; with one map less, AP-BWE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.interop.weights import Rule
from codecbwe_jax.nn.conv import WeightNormConv

Judgement = tuple[jax.Array, list[jax.Array]]


class PeriodDiscriminator(nn.Module):
    """Judges every `period`-th sample. The original's 2-D convolutions of width 1 are 1-D
    convolutions over batch and period together.

    Attributes:
      period: in samples.
      channels: of the five convolutions; all but the last have stride 3.
      skip_first_map: leave the first activation out of the feature maps (AP-BWE).
      dtype: of the convolutions.
    """

    period: int
    channels: Sequence[int]
    skip_first_map: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> Judgement:
        """`[B, N]` -> score `[B * period, frames]` and maps `[B * period, frames, C]`."""
        batch, samples = waveform.shape
        x = jnp.pad(waveform, ((0, 0), (0, -samples % self.period)), mode="reflect")
        x = x.reshape(batch, -1, self.period).swapaxes(1, 2).reshape(batch * self.period, -1, 1)
        maps = []
        for i, features in enumerate(self.channels):
            stride = 1 if i == len(self.channels) - 1 else 3
            conv = WeightNormConv(
                features, (5,), (stride,), ((2, 2),), self.dtype, name=f"convs_{i}"
            )
            x = nn.leaky_relu(conv(x), 0.1)
            maps.append(x)
        x = WeightNormConv(1, (3,), (1,), ((1, 1),), self.dtype, name="conv_post")(x)
        maps.append(x)
        return x[..., 0], maps[1:] if self.skip_first_map else maps


class MultiPeriodDiscriminator(nn.Module):
    """One `PeriodDiscriminator` for each period: `[B, N]` -> a list of (score, maps).

    Sources: jik876/hifi-gan models.py; yxlu-0102/AP-BWE models/model.py (skip_first_map).
    41.1 M parameters at the default widths.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("periods_{i}/convs_{j}", "discriminators.{i}.convs.{j}", "wn_conv2d_width1"),
        Rule("periods_{i}/conv_post", "discriminators.{i}.conv_post", "wn_conv2d_width1"),
    )

    periods: Sequence[int] = (2, 3, 5, 7, 11)
    channels: Sequence[int] = (32, 128, 512, 1024, 1024)
    skip_first_map: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> list[Judgement]:
        return [
            PeriodDiscriminator(
                period, self.channels, self.skip_first_map, self.dtype, name=f"periods_{i}"
            )(waveform)
            for i, period in enumerate(self.periods)
        ]
