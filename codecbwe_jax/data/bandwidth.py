"""The real bandwidth of a recording, whatever its sample rate says."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.signal

# NVIDIA NeMo speech data processor, EstimateBandwidth: 512 points at 44.1 kHz, 10 ms hop, first
# 30 s; the highest bin within 50 dB of the strongest.
WINDOW_S, HOP_S, SECONDS = 512 / 44100, 0.01, 30.0
RELATIVE_DB = -50.0
# Rumble lifts the peak that the rule measures from and hides a full band (4.7 instead of 14.8
# kHz on a real clip), so it is removed first.
RUMBLE_HZ = 80.0
# Dither or hiss on an up-sampled file passes the first test, but it does not follow the speech.
MOVING_DB = 6.0


@dataclasses.dataclass(frozen=True)
class Bandwidth:
    """What was measured.

    Attributes:
      hz: highest frequency within 50 dB of the strongest.
      moving_hz: the same, lowered to where the level moves with the speech by 6 dB or more.
    """

    hz: int
    moving_hz: int


def measure(x: np.ndarray, rate: int) -> Bandwidth:
    """Measure the bandwidth of a waveform.

    Args:
      x: float32 `[samples]`; the first 30 s count.
      rate: in Hz.

    Returns:
      0 Hz for silence or for less than one window.
    """
    x = x[: int(SECONDS * rate)]
    n_fft = 2 * round(WINDOW_S * rate / 2)
    if len(x) < n_fft or not np.any(x):
        return Bandwidth(0, 0)
    x = scipy.signal.sosfilt(
        scipy.signal.butter(4, RUMBLE_HZ, "highpass", fs=rate, output="sos"), x
    )
    padded = np.pad(x, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: int(HOP_S * rate)]
    window = scipy.signal.get_window("blackmanharris", n_fft).astype(np.float32)
    power = np.abs(np.fft.rfft((frames * window).astype(np.float32))) ** 2
    level = 10 * np.log10(np.maximum(power.mean(axis=0), 1e-10))
    top = int(np.nonzero(level > level.max() + RELATIVE_DB)[0][-1])
    return Bandwidth(int(top * rate / n_fft), int(_moving(power, top) * rate / n_fft))


def _moving(power: np.ndarray, top: int, group: int = 12) -> int:
    """Highest bin, at most `top`, at or below which a group of bins moves with the speech."""
    total = power.sum(axis=1)
    active, pauses = (
        np.argsort(total)[s]
        for s in (slice(-len(total) // 5, None), slice(0, len(total) // 10 + 1))
    )
    for high in range(top, group, -1):
        band = power[:, high - group : high + 1].sum(axis=1) + 1e-10
        if 10 * np.log10(band[active].mean() / band[pauses].mean()) >= MOVING_DB:
            return high
    return 0
