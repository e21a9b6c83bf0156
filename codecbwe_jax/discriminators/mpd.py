"""Multi-period discriminator (HiFi-GAN; with one map less, AP-BWE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.fields import Size, SizeOrNone
from codecbwe_jax.nn.conv import WeightNormConv
from codecbwe_jax.weights.rules import Rule

Judgement = tuple[jax.Array, list[jax.Array]]


class PeriodDiscriminator(nn.Module):
    """Judges every `period`-th sample. The original's 2-D convolutions of width 1 are 1-D
    convolutions over batch and period together.

    Attributes:
      period: in samples.
      channels: of the five convolutions; all but the last have stride 3.
      skip_first_map: leave the first activation out of the feature maps (AP-BWE).
      dtype: of the convolutions.
      pads_always: add a whole period where the length is a multiple of it (DAC).
      conditions: how many conditions the score may be projected on (Vocos); 0: none.
    """

    period: int
    channels: Sequence[int]
    skip_first_map: bool
    dtype: jnp.dtype = jnp.float32
    pads_always: bool = False
    conditions: SizeOrNone = 0

    @nn.compact
    def __call__(self, waveform: jax.Array, condition: jax.Array | None = None) -> Judgement:
        """`[B, N]` -> score `[B * period, frames]` and maps `[B * period, frames, C]`.

        `condition` is one int for the batch, `[1]`.
        """
        batch, samples = waveform.shape
        missing = -samples % self.period
        missing = missing or (self.period if self.pads_always else 0)
        x = jnp.pad(waveform, ((0, 0), (0, missing)), mode="reflect")
        x = x.reshape(batch, -1, self.period).swapaxes(1, 2).reshape(batch * self.period, -1, 1)
        maps = []
        for i, features in enumerate(self.channels):
            stride = 1 if i == len(self.channels) - 1 else 3
            conv = WeightNormConv(
                features, (5,), (stride,), ((2, 2),), self.dtype, name=f"convs_{i}"
            )
            x = nn.leaky_relu(conv(x), 0.1)
            maps.append(x)
        last = x
        x = WeightNormConv(1, (3,), (1,), ((1, 1),), self.dtype, name="conv_post")(x)
        if self.conditions:
            x = x + projection(self.conditions, last, condition)
        maps.append(x)
        return x[..., 0], maps[1:] if self.skip_first_map else maps


def projection(conditions: int, features: jax.Array, condition: jax.Array) -> jax.Array:
    """What a condition says of features `[B, ..., C]`: their product with its row of a table that
    starts at zero, `[B, ..., 1]` (arXiv 1802.05637). Called in a compact module."""
    zeros = nn.initializers.zeros
    table = nn.Embed(conditions, features.shape[-1], embedding_init=zeros, name="emb")
    return jnp.sum(table(condition) * features, axis=-1, keepdims=True)


class MultiPeriodDiscriminator(nn.Module):
    """One `PeriodDiscriminator` for each period: `[B, N]` -> a list of (score, maps).

    Sources: jik876/hifi-gan models.py; yxlu-0102/AP-BWE models/model.py and gemelo-ai/vocos
    discriminators.py (skip_first_map; the latter also conditions). 41.1 M parameters at the default
    widths.

    Attributes:
      periods: in samples.
      channels: of the five convolutions.
      skip_first_map: leave the first activation of every period out of the feature maps.
      dtype: of the convolutions.
      conditions: see `PeriodDiscriminator`.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("periods_{i}/convs_{j}", "discriminators.{i}.convs.{j}", "wn_conv2d_width1"),
        Rule("periods_{i}/conv_post", "discriminators.{i}.conv_post", "wn_conv2d_width1"),
        Rule("periods_{i}/emb/embedding", "discriminators.{i}.emb.weight", "array"),
    )

    periods: Sequence[Size] = (2, 3, 5, 7, 11)
    channels: Sequence[Size] = (32, 128, 512, 1024, 1024)
    skip_first_map: bool = False
    dtype: jnp.dtype = jnp.float32
    conditions: SizeOrNone = 0

    @nn.compact
    def __call__(self, waveform: jax.Array, condition: jax.Array | None = None) -> list[Judgement]:
        settings = (self.channels, self.skip_first_map, self.dtype, False, self.conditions)
        return [
            PeriodDiscriminator(period, *settings, name=f"periods_{i}")(waveform, condition)
            for i, period in enumerate(self.periods)
        ]
