"""DAC's discriminators: periods and bands of complex spectra of one normalised waveform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.discriminators.banded_stft import BandedSpectrumDiscriminator, normalised
from codecbwe_jax.discriminators.mpd import Judgement, PeriodDiscriminator
from codecbwe_jax.interop.weights import Rule


class DacDiscriminator(nn.Module):
    """Periods first, then windows: `[B, N]` -> a list of (score, maps).

    The score is not among the maps. Source: descript-audio-codec model/discriminator.py (arXiv
    2306.06546). 42.5 M parameters at the default widths.

    Attributes:
      periods: in samples.
      windows: FFT sizes in samples.
      period_channels: of the five convolutions over periods.
      channels: of every convolution over spectra.
      dtype: of the convolutions; spectra are float32.
    """

    periods: Sequence[int] = (2, 3, 5, 7, 11)
    windows: Sequence[int] = (2048, 1024, 512)
    period_channels: Sequence[int] = (32, 128, 512, 1024, 1024)
    channels: int = 32
    dtype: jnp.dtype = jnp.float32

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("periods_{i}/convs_{j}", "discriminators.{i}.convs.{j}.0", "wn_conv2d_width1"),
        Rule("periods_{i}/conv_post", "discriminators.{i}.conv_post", "wn_conv2d_width1"),
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
        parts: list[nn.Module] = [
            PeriodDiscriminator(
                period, self.period_channels, False, self.dtype, True, name=f"periods_{i}"
            )
            for i, period in enumerate(self.periods)
        ]
        # numbered as the original's one list
        parts += [
            BandedSpectrumDiscriminator(
                window, self.channels, False, "match_stride", self.dtype, name=f"windows_{i}"
            )
            for i, window in enumerate(self.windows, len(self.periods))
        ]
        return [(score, maps[:-1]) for score, maps in (part(x) for part in parts)]
