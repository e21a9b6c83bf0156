"""Mel filter banks, designed on the host in NumPy, and mel spectra on device."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.stft import Padding, stft
from codecbwe_jax.fields import NotNegative, Positive, Rate, Size

Scale = Literal["slaney", "htk", "kaldi"]


def hz_to_mel(hz: np.ndarray | float, scale: Scale) -> np.ndarray:
    """Frequencies in Hz -> mel. "slaney" is linear below 1 kHz; "htk" and "kaldi" are
    logarithmic throughout (2595 log10 and 1127 ln)."""
    hz = np.asarray(hz, np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    if scale == "kaldi":
        return 1127.0 * np.log(1.0 + hz / 700.0)
    linear = 3.0 * hz / 200.0
    return np.where(hz < 1000.0, linear, 15.0 + 27.0 * np.log(np.maximum(hz, 1.0) / 1e3) / LN64)


def mel_to_hz(mel: np.ndarray, scale: Scale) -> np.ndarray:
    """Inverse of `hz_to_mel`."""
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    if scale == "kaldi":
        return 700.0 * (np.exp(mel / 1127.0) - 1.0)
    return np.where(mel < 15.0, 200.0 * mel / 3.0, 1e3 * np.exp((mel - 15.0) * LN64 / 27.0))


LN64 = np.log(6.4)


def mel_filterbank(
    rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: Scale = "slaney",
) -> np.ndarray:
    """Triangular mel filters.

    Args:
      rate: sample rate in Hz.
      n_fft: FFT size in samples.
      n_mels: number of filters.
      f_min, f_max: band in Hz; f_max None is the Nyquist frequency.
      scale: "slaney" with area normalisation (librosa's default), "htk" with triangles of height
        1 in Hz (torchaudio's default), "kaldi" with triangles of height 1 in mel.

    Returns:
      float32 `[n_fft // 2 + 1, n_mels]`.
    """
    f_max = rate / 2 if f_max is None else f_max
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    corners_mel = np.linspace(hz_to_mel(f_min, scale), hz_to_mel(f_max, scale), n_mels + 2)
    if scale == "kaldi":
        corners, axis = corners_mel, hz_to_mel(bins, scale)
    else:
        corners, axis = mel_to_hz(corners_mel, scale), bins
    lower, center, upper = corners[:-2], corners[1:-1], corners[2:]
    rising = (axis[:, None] - lower) / (center - lower)
    falling = (upper - axis[:, None]) / (upper - center)
    bank = np.maximum(0.0, np.minimum(rising, falling))
    if scale == "slaney":
        bank *= 2.0 / (upper - lower)
    return bank.astype(np.float32)


def mel_spectrum(magnitude: jax.Array, filterbank: np.ndarray) -> jax.Array:
    """Magnitudes `[..., bins]` -> mel magnitudes `[..., n_mels]`, in full float32."""
    return jnp.matmul(magnitude, filterbank, precision=jax.lax.Precision.HIGHEST)


@dataclasses.dataclass(frozen=True)
class MelSettings:
    """How a log-mel spectrum is made; the same object serves features and losses.

    Attributes:
      rate: in Hz.
      n_fft, hop_length, win_length: in samples; the window is n_fft long if None.
      n_mels, f_min, f_max, scale: of the filters; f_max None is Nyquist.
      padding: of the STFT.
      floor: mel magnitudes are raised to it before the logarithm.
      power_floor: added under the root of the magnitude (HiFi-GAN: 1e-9).
      least_power: powers are raised to it before the root (NVSR: 1e-8).
      offset: added to mel magnitudes before the logarithm.
    """

    rate: Rate
    n_fft: Size
    hop_length: Size
    n_mels: Size
    win_length: Size | None = None
    f_min: NotNegative = 0.0
    f_max: Positive | None = None
    scale: Scale = "slaney"
    padding: Padding = "center"
    floor: NotNegative = 1e-5
    power_floor: NotNegative = 0.0
    least_power: NotNegative = 0.0
    offset: NotNegative = 0.0

    def filterbank(self) -> np.ndarray:
        return mel_filterbank(
            self.rate, self.n_fft, self.n_mels, self.f_min, self.f_max, self.scale
        )


def mel(x: jax.Array, settings: MelSettings) -> jax.Array:
    """Mel magnitudes of waveforms: `[..., samples]` -> `[..., frames, n_mels]`."""
    s = settings
    z = stft(x, s.n_fft, s.hop_length, s.win_length, padding=s.padding)
    if s.power_floor or s.least_power:
        power = z.real**2 + z.imag**2 + s.power_floor
        magnitude = jnp.sqrt(jnp.maximum(power, s.least_power))
    else:
        magnitude = jnp.abs(z)
    return mel_spectrum(magnitude, settings.filterbank())


def log_mel(x: jax.Array, settings: MelSettings) -> jax.Array:
    """Natural log of `mel`, raised to the floor."""
    return jnp.log(jnp.maximum(mel(x, settings), settings.floor) + settings.offset)
