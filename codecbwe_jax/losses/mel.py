"""Mel-spectrum distances."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.mel import MelSettings, log_mel
from codecbwe_jax.fields import NotNegative, Positive, Size


def log_mel_l1(target: jax.Array, predicted: jax.Array, settings: MelSettings) -> jax.Array:
    """Mean absolute difference of natural log-mels (HiFi-GAN weights it by 45)."""
    return jnp.mean(jnp.abs(log_mel(target, settings) - log_mel(predicted, settings)))


def multi_scale_mel(
    target: jax.Array,
    predicted: jax.Array,
    rate: int,
    n_mels: Sequence[Size] = (5, 10, 20, 40, 80, 160, 320),
    windows: Sequence[Size] = (32, 64, 128, 256, 512, 1024, 2048),
    f_min: Sequence[NotNegative] = (0.0,) * 7,
    f_max: Sequence[Positive | None] = (None,) * 7,
    floor: NotNegative = 1e-5,
) -> jax.Array:
    """DAC's mel loss: mean |log10 difference| summed over scales (descript-audio-codec loss.py).

    Args:
      target, predicted: waveforms `[..., samples]`.
      rate: in Hz.
      n_mels, windows: filters and window length in samples of each scale; hop is window / 4.
      f_min, f_max: band of each scale in Hz.
      floor: mel magnitudes are raised to it.
    """
    total = jnp.float32(0)
    for filters, window, low, high in zip(n_mels, windows, f_min, f_max, strict=True):
        settings = MelSettings(
            rate, window, window // 4, filters, f_min=low, f_max=high, floor=floor
        )
        total += log_mel_l1(target, predicted, settings) / np.log(10.0)
    return total


def upper_band_mel(
    target: jax.Array,
    predicted: jax.Array,
    rate: int,
    band_edge_hz: Positive,
    n_mels: Size = 64,
    windows: Sequence[Size] = (2048, 1024, 512),
    overlap_hz: NotNegative = 1000.0,
) -> jax.Array:
    """Mean |ln difference| of mels that cover only what the input lacks.

    A mel scale over the whole band gives 8-24 kHz a quarter of its bins. Here the filters begin
    `overlap_hz` below the input's band edge, so that the seam is judged too.

    Args:
      target, predicted: waveforms `[..., samples]`.
      rate: in Hz.
      band_edge_hz: upper end of the input's band.
      n_mels, windows: filters, and window length in samples of each scale.
      overlap_hz: how far below the edge the filters begin.

    Returns:
      Mean over the scales.
    """
    terms = [
        log_mel_l1(
            target,
            predicted,
            MelSettings(rate, w, w // 4, min(n_mels, w // 16), f_min=band_edge_hz - overlap_hz),
        )
        for w in windows
    ]
    return jnp.mean(jnp.stack(terms))
