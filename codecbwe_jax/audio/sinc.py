"""Windowed-sinc resampling filters, designed on the host (torchaudio functional.resample)."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Literal

import numpy as np

from codecbwe_jax.fields import OneOf


@dataclasses.dataclass(frozen=True)
class SincFilter:
    """Shape of a windowed-sinc low-pass.

    Attributes:
      width: zero crossings on each side.
      rolloff: cut-off as a share of the lower Nyquist frequency, in (0, 1].
      window: "hann" or "kaiser".
      beta: shape of the Kaiser window.
      unit_sum: every phase is scaled to pass a constant unchanged.
    """

    width: int
    rolloff: float
    window: Literal["hann", "kaiser"] = "hann"
    beta: float = 14.769656459379492
    unit_sum: bool = False


SINC_FILTERS = {
    # torchaudio's default: -6.6 dB at the band edge, images 12 dB down just above it
    "torchaudio": SincFilter(6, 0.99),
    # ours: flat to 7 kHz, images below -55 dB from 8.6 kHz (16 -> 48 kHz)
    "hann24": SincFilter(24, 0.97),
    # brentspell/hifi-gan-bwe
    "kaiser16": SincFilter(16, 0.945, "kaiser"),
    # adefossez/julius resample_frac
    "julius": SincFilter(24, 0.945, unit_sum=True),
}
SincFilterName = Annotated[str, OneOf(SINC_FILTERS)]


def sinc_kernel(from_rate: int, to_rate: int, design: SincFilter) -> tuple[np.ndarray, int]:
    """Polyphase kernel of a resampler.

    Args:
      from_rate, to_rate: sample rates in Hz.
      design: shape of the low-pass.

    Returns:
      kernel float32 `[to, 2 * width + from]` with the rates divided by their greatest common
      divisor, one row for each output phase, and `width`: the input samples looked at to the
      left and to the right.
    """
    divisor = math.gcd(from_rate, to_rate)
    source, target = from_rate // divisor, to_rate // divisor
    base = min(source, target) * design.rolloff
    width = math.ceil(design.width * source / base)
    taps = np.arange(-width, width + source, dtype=np.float64) / source
    t = (taps[None, :] - np.arange(target, dtype=np.float64)[:, None] / target) * base
    t = np.clip(t, -design.width, design.width)
    if design.window == "hann":
        window = np.cos(np.pi * t / design.width / 2.0) ** 2
    else:
        window = np.i0(design.beta * np.sqrt(1.0 - (t / design.width) ** 2)) / np.i0(design.beta)
    kernel = np.sinc(t) * window * base / source
    if design.unit_sum:
        kernel /= kernel.sum(axis=1, keepdims=True)
    return kernel.astype(np.float32), width
