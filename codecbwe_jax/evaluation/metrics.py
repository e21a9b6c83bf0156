"""Objective metrics on NumPy waveforms; each names the formula it follows.

All log-spectral distances are in log10 units of power (1.0 is 10 dB), the mean over frames of the
root mean square over bins. Estimates and targets of different length are cut to the shorter;
nothing is aligned and no gain is applied.
"""

from __future__ import annotations

import numpy as np

N_FFT, HOP = 2048, 512


def _pair(estimate: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = min(estimate.shape[-1], target.shape[-1])
    return estimate[..., :length].astype(np.float64), target[..., :length].astype(np.float64)


def spectrum(x: np.ndarray, n_fft: int = N_FFT, hop: int = HOP, pad: str = "reflect") -> np.ndarray:
    """Centred STFT with a periodic Hann window: `[samples]` -> complex `[frames, bins]`.

    Args:
      x: waveform; the transform has its precision.
      n_fft, hop: in samples.
      pad: "reflect" or "constant", as np.pad.
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    padded = np.pad(x, n_fft // 2, mode=pad)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    return np.fft.rfft(frames * window.astype(x.dtype))


def _log_distance(
    estimate: np.ndarray, target: np.ndarray, bins: slice = slice(None)
) -> np.ndarray:
    s, t = (np.abs(spectrum(x))[:, bins] ** 2 for x in _pair(estimate, target))
    d = np.log10(np.maximum(s, 1e-8)) - np.log10(np.maximum(t, 1e-8))
    return np.mean(np.sqrt(np.mean(d**2, axis=1)))


def lsd(estimate: np.ndarray, target: np.ndarray) -> float:
    """Log-spectral distance as AP-BWE, NU-Wave 2 and AERO compute it: STFT 2048/512, powers
    clamped at 1e-8."""
    return float(_log_distance(estimate, target))


def split_bin(cut_hz: float, rate: int) -> int:
    """First bin of the upper band, NU-Wave 2's rule: int(bins * cut / Nyquist)."""
    return int((N_FFT // 2 + 1) * cut_hz / (rate / 2))


def lsd_high(estimate: np.ndarray, target: np.ndarray, rate: int, cut_hz: float) -> float:
    """`lsd` over the bins from `cut_hz` up (NU-Wave 2 LSD-HF)."""
    return float(_log_distance(estimate, target, slice(split_bin(cut_hz, rate), None)))


def lsd_low(estimate: np.ndarray, target: np.ndarray, rate: int, cut_hz: float) -> float:
    """`lsd` over the bins below `cut_hz` (NU-Wave 2 LSD-LF)."""
    return float(_log_distance(estimate, target, slice(0, split_bin(cut_hz, rate))))


def lsd_octave(estimate: np.ndarray, target: np.ndarray, rate: int, cut_hz: float) -> float:
    """`lsd` over the bins from `cut_hz` to 15/8 of that: the next octave without its end, where
    what was resampled from twice `2 * cut_hz` already falls."""
    bins = slice(split_bin(cut_hz, rate), split_bin(15 / 8 * cut_hz, rate))
    return float(_log_distance(estimate, target, bins))


def log_magnitude_distance(
    estimate: np.ndarray, target: np.ndarray, fft_sizes: tuple[int, ...] = (2048, 1024, 512, 256)
) -> float:
    """Mean absolute difference of natural log magnitudes (floor 1e-5), the mean over FFT sizes,
    hops a quarter of them."""

    def distance(n_fft: int) -> float:
        s, t = (np.abs(spectrum(x, n_fft, n_fft // 4)) for x in _pair(estimate, target))
        return np.mean(np.abs(np.log(np.maximum(s, 1e-5)) - np.log(np.maximum(t, 1e-5))))

    return float(np.mean([distance(n_fft) for n_fft in fft_sizes]))


def snr(estimate: np.ndarray, target: np.ndarray) -> float:
    """Signal-to-noise ratio in dB as AP-BWE: 20 log10(|t| / max(|s - t|, 1e-8)); NaN where the
    target is silent."""
    s, t = _pair(estimate, target)
    norm = np.linalg.norm(t)
    return float(20 * np.log10(norm / max(np.linalg.norm(s - t), 1e-8))) if norm else float("nan")


def si_sdr(estimate: np.ndarray, target: np.ndarray, zero_mean: bool = False) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (auraloss 0.4, eps 1e-8)."""
    s, t = _pair(estimate, target)
    if zero_mean:
        s, t = s - s.mean(), t - t.mean()
    scaled = t * (np.dot(s, t) + 1e-8) / (np.dot(t, t) + 1e-8)
    ratio = np.dot(scaled, scaled) / (np.sum((s - scaled) ** 2) + 1e-8)
    return float(10 * np.log10(ratio + 1e-8))


def spectral_convergence(estimate: np.ndarray, target: np.ndarray) -> float:
    """Frobenius norm of the magnitude difference over that of the target, STFT 2048/512;
    NaN where the target is silent."""
    s, t = (np.abs(spectrum(x)) for x in _pair(estimate, target))
    norm = np.linalg.norm(t)
    return float(np.linalg.norm(t - s) / norm) if norm else float("nan")


def sharpness(estimate: np.ndarray, target: np.ndarray, rate: int, cut_hz: float) -> float:
    """Standard deviation of the log power above `cut_hz`, over that of the target.

    Taken in each bin against the mean of its neighbours (11 bins), in frames where the target is
    within 40 dB of its loudest. 1 is as sharp as the target; an over-smoothed band, which the
    log-spectral distance rewards, is well below 1; noise where the target has harmonics above.
    """
    first = split_bin(cut_hz, rate)
    s, t = (np.abs(spectrum(x))[:, first:] ** 2 for x in _pair(estimate, target))
    level = np.mean(t, axis=1)
    active = level >= 1e-4 * level.max(initial=0.0)

    def spread(power: np.ndarray) -> float:
        log = np.log10(np.maximum(power[active], 1e-8))
        kernel = np.ones(11) / 11
        local = np.apply_along_axis(np.convolve, 1, log, kernel, mode="same")
        return float(np.std((log - local)[:, 5:-5]))

    reference = spread(t)
    return spread(s) / reference if reference else float("nan")


def band_level_db(x: np.ndarray, rate: int, low_hz: float, high_hz: float) -> float:
    """Power between two frequencies in dB relative to full scale, from the mean spectrum."""
    power = np.mean(np.abs(spectrum(x.astype(np.float64))) ** 2, axis=0)
    bins = np.arange(len(power)) * rate / N_FFT
    inside = power[(bins >= low_hz) & (bins < high_hz)].sum()
    # Parseval for a periodic Hann window of N samples, one-sided spectrum
    return float(10 * np.log10(max(2 * inside / (0.375 * N_FFT**2), 1e-20)))


def crossover_step_db(
    estimate: np.ndarray, target: np.ndarray, rate: int, cut_hz: float, width_hz: float = 400.0
) -> float:
    """Excess step of the mean spectrum at the crossover in dB: how much the level changes from
    the band just below to the band just above, compared with the target's own change."""

    def step(x: np.ndarray) -> float:
        above = band_level_db(x, rate, cut_hz, cut_hz + width_hz)
        return above - band_level_db(x, rate, cut_hz - width_hz, cut_hz)

    return step(estimate) - step(target)
