"""First values of a head of several bands, from a trained head of one band at a lower rate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.decoders.head_init import NEW_ROWS_DB
from codecbwe_jax.errors import UserError

# A row of the old head counts in a band if the band's filter lets so much of it through.
AUDIBLE = 1e-3


def multiband_head(
    head: Mapping[str, np.ndarray],
    old_rate: int,
    rate: int,
    bank: Pqmf,
    new_rows_db: float = NEW_ROWS_DB,
) -> dict[str, np.ndarray]:
    """A head of several bands, from the same features.

    A bin of a band holds one or more frequencies of the old head's band, folded there by the
    decimation: its own, mirrored and conjugate in odd bands, and what the filter lets through from
    beside it. The bin takes the row that the band's analysis filter passes best, times the
    filter's response; folded sums of two rows cannot be written as weights and are left to
    training. What holds nothing of the old band repeats its upper half.

    Args:
      head: "kernel" `[features, n_fft + 2]` and "bias", of the old head.
      old_rate, rate: of the old head and of the whole new one, in Hz.
      bank: splits the new head's waveform.
      new_rows_db: level of the new rows against those they repeat.

    Returns:
      "kernel" `[features, bands * (band_n_fft + 2)]` and "bias", float32, band-major.

    Raises:
      UserError: if bins of the bands would not lie at the old ones' frequencies.
    """
    rows = np.concatenate([head["kernel"], head["bias"][None]]).T.astype(np.float64)
    old_n_fft = len(rows) - 2
    band_n_fft = old_n_fft * rate / (old_rate * bank.bands)
    if band_n_fft != round(band_n_fft) or round(band_n_fft) % 2:
        raise UserError(
            f"a head of {old_n_fft} at {old_rate} Hz does not divide into {bank.bands} bands at "
            f"{rate}"
        )
    magnitude, phase = np.split(rows, 2)
    new = [
        np.concatenate(_band(bank, k, magnitude, phase, round(band_n_fft), new_rows_db))
        for k in range(bank.bands)
    ]
    new = np.concatenate(new).T.astype(np.float32)
    return {"kernel": new[:-1], "bias": new[-1]}


def _band(
    bank: Pqmf, k: int, magnitude: np.ndarray, phase: np.ndarray, n_fft: int, new_rows_db: float
) -> tuple[np.ndarray, np.ndarray]:
    """Log magnitude and phase rows `[bins, features + 1]` of band k."""
    nyquist, half = len(magnitude) - 1, n_fft // 2
    bins = np.arange(half + 1)
    source, sign, response = _sources(bank, k, half, nyquist)
    heard = np.abs(response) >= AUDIBLE
    own = k * half + (bins if k % 2 == 0 else half - bins)  # where the bin lies in the whole
    upper = nyquist // 2
    source = np.where(heard, source, upper + (own - upper) % upper)
    louder = np.full(half + 1, np.log(half / nyquist))
    gain = np.where(heard, np.abs(response), 10 ** (new_rows_db / 20))
    louder += np.log(np.maximum(gain, 1e-7))
    # an inner bin stands for its mirror image too, an edge for itself alone
    edge, was_edge = (bins == 0) | (bins == half), (source == 0) | (source == nyquist)
    louder += np.log(2.0) * (edge.astype(int) - was_edge.astype(int))
    magnitude, phase = magnitude[source], phase[source]
    magnitude[:, -1] += louder
    phase[:, -1] += np.where(heard, np.angle(response), 0.0)
    return magnitude, phase * np.where(heard, sign, 1)[:, None]


def _sources(
    bank: Pqmf, k: int, half: int, nyquist: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each bin of band k: the old row that it holds most of, whether upright (1) or conjugate
    (-1), and the analysis filter's response there (0 if there is none)."""
    bins = np.arange(half + 1)
    source, sign = np.zeros(half + 1, int), np.ones(half + 1, int)
    best = np.zeros(half + 1, complex)
    for turn in range(bank.bands // 2 + 1):
        for way in (1, -1):
            row = 2 * half * turn + way * bins
            inside = (row >= 0) & (row <= nyquist)
            row = np.clip(row, 0, nyquist)
            response = analysis_response(bank, k, row / (half * bank.bands)) * inside
            better = np.abs(response) > np.abs(best) + 1e-12
            source, sign = np.where(better, row, source), np.where(better, way, sign)
            best = np.where(better, response, best)
    return source, sign, best


def analysis_response(bank: Pqmf, k: int, frequency: np.ndarray) -> np.ndarray:
    """Complex response of band k's analysis filter, without its delay, at frequencies given as a
    share of Nyquist."""
    coefficients = bank.filters()[0][k].astype(np.float64)
    n = np.arange(bank.taps + 1) - bank.taps / 2
    return np.exp(1j * np.pi * np.asarray(frequency)[..., None] * n) @ coefficients
