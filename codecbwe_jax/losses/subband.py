"""Spectral losses on the bands of a filter bank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.fields import NotNegative, Size
from codecbwe_jax.losses.stft import multi_resolution_stft

# Sizes of Multi-band MelGAN (arXiv 2005.05106).
FFT_SIZES = (384, 683, 171)
HOP_LENGTHS = (30, 60, 10)
WIN_LENGTHS = (150, 300, 60)
SIZES_ARE_FOR = 6000


def subband_stft(
    target: jax.Array,
    predicted: jax.Array,
    rate: int,
    bands: Size,
    taps: Size = 62,
    fft_sizes: Sequence[Size] = FFT_SIZES,
    hop_lengths: Sequence[Size] = HOP_LENGTHS,
    win_lengths: Sequence[Size] | None = WIN_LENGTHS,
    power_floor: NotNegative = 1e-7,
    **settings: Any,
) -> jax.Array:
    """Multi-resolution STFT loss on PQMF bands, each band an item by itself.

    Sources: kan-bayashi/ParallelWaveGAN stft_loss.py on the bands of layers/pqmf.py; there the
    spectral convergence runs over all bands together, and the loudest decides it.

    Args:
      target, predicted: waveforms `[B, samples]`.
      rate: of both in Hz.
      bands, taps: of the PQMF.
      fft_sizes, hop_lengths, win_lengths: of each resolution, in samples of a band at 6 kHz, to
        be scaled to the bands' rate.
      power_floor, settings: as in `multi_resolution_stft`.

    Returns:
      float32 scalar.
    """
    bank, scale = Pqmf(bands, taps), rate / bands / SIZES_ARE_FOR
    samples = target.shape[-1] // bands * bands

    def split(x: jax.Array) -> jax.Array:
        return bank.analysis(x[:, :samples]).swapaxes(1, 2).reshape(-1, samples // bands)

    sizes = (
        row and [round(scale * n) for n in row] for row in (fft_sizes, hop_lengths, win_lengths)
    )
    return multi_resolution_stft(
        split(target), split(predicted), *sizes, power_floor=power_floor, **settings
    )[0]
