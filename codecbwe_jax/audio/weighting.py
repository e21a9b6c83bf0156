"""Loudness weighting curves as filters, designed on the host."""

from __future__ import annotations

import numpy as np
import scipy.signal


def a_weighting_fir(rate: int, taps: int = 101) -> np.ndarray:
    """Linear-phase FIR that follows the A-weighting curve (IEC 61672), as auraloss designs it.

    Args:
      rate: sample rate in Hz.
      taps: odd number of coefficients.

    Returns:
      float32 `[taps]`: least-squares fit to 512 points of the bilinear-transformed curve.
    """
    f1, f2, f3, f4 = 2 * np.pi * np.array([20.598997, 107.65265, 737.86223, 12194.217])
    gain_at_1k = 10 ** (1.9997 / 20)
    numerator = [f4**2 * gain_at_1k, 0.0, 0.0, 0.0, 0.0]
    denominator = np.polymul([1, 2 * f4, f4**2], [1, 2 * f1, f1**2])
    denominator = np.polymul(np.polymul(denominator, [1, f3]), [1, f2])
    b, a = scipy.signal.bilinear(numerator, denominator, fs=rate)
    frequencies, response = scipy.signal.freqz(b, a, worN=512, fs=rate)
    return scipy.signal.firls(taps, frequencies, np.abs(response), fs=rate).astype(np.float32)
