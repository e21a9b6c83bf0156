"""DAC's discriminators: periods, rates and bands of complex spectra of one normalised waveform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.resample import resample
from codecbwe_jax.discriminators.banded_stft import BandedSpectrumDiscriminator, normalised
from codecbwe_jax.discriminators.mpd import Judgement, PeriodDiscriminator
from codecbwe_jax.discriminators.scale import ScaleDiscriminator
from codecbwe_jax.fields import Size
from codecbwe_jax.interop.weights import Rule


class DacDiscriminator(nn.Module):
    """Periods first, then rates, then windows: `[B, N]` -> a list of (score, maps).

    The score is not among the maps. Source: descript-audio-codec model/discriminator.py (arXiv
    2306.06546). 42.5 M parameters at the default widths.

    Attributes:
      periods: in samples.
      windows: FFT sizes in samples.
      period_channels: of the five convolutions over periods.
      channels: of every convolution over spectra.
      dtype: of the convolutions; spectra are float32.
      rates: divisors of the waveform's rate; the published recipes take none.
      rate_channels, rate_groups: of the convolutions over rates.
    """

    periods: Sequence[Size] = (2, 3, 5, 7, 11)
    windows: Sequence[Size] = (2048, 1024, 512)
    period_channels: Sequence[Size] = (32, 128, 512, 1024, 1024)
    channels: Size = 32
    dtype: jnp.dtype = jnp.float32
    rates: Sequence[Size] = ()
    rate_channels: Sequence[Size] = (16, 64, 256, 1024, 1024, 1024)
    rate_groups: Sequence[Size] = (1, 4, 16, 64, 256, 1)

    rate_kernels: ClassVar[tuple[int, ...]] = (15, 41, 41, 41, 41, 5)
    rate_strides: ClassVar[tuple[int, ...]] = (1, 4, 4, 4, 4, 1)
    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("periods_{i}/convs_{j}", "discriminators.{i}.convs.{j}.0", "wn_conv2d_width1"),
        Rule("periods_{i}/conv_post", "discriminators.{i}.conv_post", "wn_conv2d_width1"),
        Rule("rates_{i}/convs_{j}", "discriminators.{i}.convs.{j}.0", "wn_conv1d"),
        Rule("rates_{i}/conv_post", "discriminators.{i}.conv_post", "wn_conv1d"),
        Rule(
            "windows_{i}/band_convs_{b}_{j}",
            "discriminators.{i}.band_convs.{b}.{j}.0",
            "wn_image",
        ),
        Rule("windows_{i}/conv_post", "discriminators.{i}.conv_post", "wn_image"),
    )

    @nn.compact
    def __call__(self, waveform: jax.Array) -> list[Judgement]:
        x = normalised(waveform)
        # numbered as the original's one list
        count = len(self.periods)
        judgements = [
            PeriodDiscriminator(
                period, self.period_channels, False, self.dtype, True, name=f"periods_{i}"
            )(x)
            for i, period in enumerate(self.periods)
        ]
        layers = self.rate_channels, self.rate_kernels, self.rate_strides, self.rate_groups
        for i, rate in enumerate(self.rates, count):
            scale = ScaleDiscriminator(*layers, dtype=self.dtype, name=f"rates_{i}")
            judgements.append(scale(resample(x, rate, 1, "julius", ends="edge")))
        judgements += [
            BandedSpectrumDiscriminator(
                window, self.channels, False, "match_stride", self.dtype, name=f"windows_{i}"
            )(x)
            for i, window in enumerate(self.windows, count + len(self.rates))
        ]
        return [(score, maps[:-1]) for score, maps in judgements]
