"""DAC's discriminators: periods, rates and bands of complex spectra of one normalised waveform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.resample import resample
from codecbwe_jax.discriminators.banded_stft import (
    BANDS,
    BandedSpectrumDiscriminator,
    normalised,
)
from codecbwe_jax.discriminators.mpd import Judgement, PeriodDiscriminator
from codecbwe_jax.discriminators.scale import ScaleDiscriminator
from codecbwe_jax.fields import Rate, Share, Size
from codecbwe_jax.weights.rules import Rule


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
      sample_rate: of the waveform in Hz, which those divide.
      rate_channels, rate_groups: of the convolutions over rates.
      bands: of every spectrum, see `BandedSpectrumDiscriminator`.
    """

    periods: Sequence[Size] = (2, 3, 5, 7, 11)
    windows: Sequence[Size] = (2048, 1024, 512)
    period_channels: Sequence[Size] = (32, 128, 512, 1024, 1024)
    channels: Size = 32
    dtype: jnp.dtype = jnp.float32
    rates: Sequence[Size] = ()
    sample_rate: Rate = 44100
    rate_channels: Sequence[Size] = (16, 64, 256, 1024, 1024, 1024)
    rate_groups: Sequence[Size] = (1, 4, 16, 64, 256, 1)
    bands: Sequence[tuple[Share, Share]] = BANDS

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
            judgements.append(scale(self._at(x, self.sample_rate // rate)))
        judgements += [
            BandedSpectrumDiscriminator(
                window,
                self.channels,
                False,
                "match_stride",
                self.dtype,
                bands=self.bands,
                name=f"windows_{i}",
            )(x)
            for i, window in enumerate(self.windows, count + len(self.rates))
        ]
        return [(score, maps[:-1]) for score, maps in judgements]

    def _at(self, x: jax.Array, rate: int) -> jax.Array:
        """The waveform at another rate; julius leaves a part of a sample at the end out."""
        y = resample(x, self.sample_rate, rate, "julius", ends="edge")
        return y[:, : x.shape[1] * rate // self.sample_rate]
