"""Ways to make the narrow-band input of a training pair, on the host.

A network trained with one filter learns that filter's roll-off; drawing among several makes it
robust. Each takes float32 `[samples]` at from_rate and gives `ceil(samples * to / from)` samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.signal
import soxr

from codecbwe_jax.audio.sinc import SINC_FILTERS, SincFilter, sinc_kernel

Lowpass = Callable[[np.ndarray, int, int, np.random.Generator], np.ndarray]


def sinc_resample(x: np.ndarray, from_rate: int, to_rate: int, design: SincFilter) -> np.ndarray:
    """`audio.resample.resample` in NumPy: `[samples]` float32 -> float32."""
    kernel, width = sinc_kernel(from_rate, to_rate, design)
    divisor = math.gcd(from_rate, to_rate)
    source, target = from_rate // divisor, to_rate // divisor
    padded = np.pad(x.astype(np.float32), (width, width + source))
    frames = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[1])[::source]
    return (frames @ kernel.T).reshape(-1)[: -(-len(x) * target // source)]


def _named_sinc(name: str) -> Lowpass:
    return lambda x, a, b, rng: sinc_resample(x, a, b, SINC_FILTERS[name])


def _random_sinc(x: np.ndarray, a: int, b: int, rng: np.random.Generator) -> np.ndarray:
    """Hann-windowed sinc of random length and cut-off."""
    return sinc_resample(x, a, b, SincFilter(int(rng.integers(6, 65)), rng.uniform(0.85, 0.99)))


def _soxr(quality: str) -> Lowpass:
    return lambda x, a, b, rng: _fit(soxr.resample(x, a, b, quality=quality), len(x), a, b)


def _polyphase(x: np.ndarray, a: int, b: int, rng: np.random.Generator) -> np.ndarray:
    """scipy's default polyphase filter."""
    divisor = math.gcd(a, b)
    return _fit(scipy.signal.resample_poly(x, b // divisor, a // divisor), len(x), a, b)


def _random_iir(x: np.ndarray, a: int, b: int, rng: np.random.Generator) -> np.ndarray:
    """Butterworth, Chebyshev or elliptic low-pass of random order and cut-off, run forwards and
    backwards (no delay), then decimated without another filter's help."""
    order = int(rng.integers(4, 11))
    cutoff = rng.uniform(0.85, 0.98) * min(a, b) / 2
    family = int(rng.integers(3))
    if family == 0:
        sections = scipy.signal.butter(order, cutoff, fs=a, output="sos")
    elif family == 1:
        sections = scipy.signal.cheby1(order, rng.uniform(0.01, 0.5), cutoff, fs=a, output="sos")
    else:
        sections = scipy.signal.ellip(order, 0.1, 60.0, cutoff, fs=a, output="sos")
    padded = np.pad(x, 256)
    limited = scipy.signal.sosfiltfilt(sections, padded, padtype=None)[256:-256]
    return _fit(soxr.resample(limited.astype(np.float32), a, b, quality="VHQ"), len(x), a, b)


def _fit(y: np.ndarray, samples: int, a: int, b: int) -> np.ndarray:
    length = -(-samples * b // a)
    return np.pad(y[:length], (0, max(0, length - len(y)))).astype(np.float32)


LOWPASSES: dict[str, Lowpass] = {
    "torchaudio": _named_sinc("torchaudio"),
    "hann24": _named_sinc("hann24"),
    "kaiser16": _named_sinc("kaiser16"),
    "random_sinc": _random_sinc,
    "soxr_hq": _soxr("HQ"),
    "soxr_vhq": _soxr("VHQ"),
    "soxr_lq": _soxr("LQ"),
    "polyphase": _polyphase,
    "random_iir": _random_iir,
}
