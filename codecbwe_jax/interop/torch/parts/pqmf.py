"""Cosine-modulated filter banks."""

from __future__ import annotations

import math

import torch


def pqmf_synthesis(bands: int, taps: int) -> torch.Tensor:
    """Synthesis filters: float64 (bands, taps + 1)."""
    cutoff = 1 / (2 * bands) + 1.0543 / taps
    n = torch.arange(taps + 1, dtype=torch.float64) - taps / 2
    window = torch.kaiser_window(taps + 1, periodic=False, beta=9.0, dtype=torch.float64)
    prototype = cutoff * torch.sinc(cutoff * n) * window
    k = torch.arange(bands, dtype=torch.float64)[:, None]
    angle = (2 * k + 1) * math.pi / (2 * bands) * n - (-1.0) ** k * math.pi / 4
    return 2 * prototype * torch.cos(angle)
