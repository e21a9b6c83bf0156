"""Window functions, designed in float64 on the host."""

from __future__ import annotations

import numpy as np


def hann(length: int) -> np.ndarray:
    """Periodic Hann window.

    Args:
      length: number of samples, at least 1.

    Returns:
      float32 array `[length]`.
    """
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)).astype(np.float32)


def symmetric_hann(length: int) -> np.ndarray:
    """Hann window whose last sample is 0 as its first is, float32 `[length]`, at least 2:
    torch.signal.windows.hann."""
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / (length - 1))).astype(np.float32)


def rectangular(length: int) -> np.ndarray:
    """Window of ones, float32 `[length]`: what torch.stft uses when none is given."""
    return np.ones(length, np.float32)


WINDOWS = {"hann": hann, "symmetric_hann": symmetric_hann, "rectangular": rectangular}
