"""Crossovers: one signal below a frequency, another above it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal

from codecbwe_jax.audio.stft import istft, stft


def linkwitz_riley(
    x: jax.Array, rate: int, cutoff_hz: float, order: int = 4
) -> tuple[jax.Array, jax.Array]:
    """Split a waveform by a causal Linkwitz-Riley crossover.

    Args:
      x: waveform `[..., samples]`, float32.
      rate: sample rate in Hz.
      cutoff_hz: crossover frequency; both parts are 6 dB down there.
      order: 4, 8, ... (two Butterworth filters of half the order in series).

    Returns:
      (low, high), each `[..., samples]`. Their sum is x through an all-pass filter.

    Raises:
      ValueError: if the order is not a multiple of 4, for which the two parts are in phase.
    """
    if order % 4:
        raise ValueError(f"a Linkwitz-Riley crossover of order {order} is not in phase: use 4, 8")
    samples = x.shape[-1]
    # The recursive filters act through their frequency response. Zero-padding by the time they
    # take to decay below float32 rounding makes the circular convolution a linear one.
    decay = int(8 * rate / cutoff_hz) * order
    n_fft = 1 << (samples + decay - 1).bit_length()
    frequencies = np.fft.rfftfreq(n_fft, 1 / rate)
    spectrum = jnp.fft.rfft(x.astype(jnp.float32), n_fft)

    def part(kind: str) -> jax.Array:
        sections = scipy.signal.butter(order // 2, cutoff_hz, kind, fs=rate, output="sos")
        response = scipy.signal.freqz_sos(sections, frequencies, fs=rate)[1] ** 2
        return jnp.fft.irfft(spectrum * response.astype(np.complex64), n_fft)[..., :samples]

    return part("lowpass"), part("highpass")


def stft_crossover(
    low: jax.Array,
    high: jax.Array,
    rate: int,
    cutoff_hz: float,
    transition_hz: float = 500.0,
    n_fft: int = 2048,
) -> jax.Array:
    """Take `low` below the cut-off and `high` above it, blended in the STFT domain.

    Args:
      low, high: waveforms `[batch, samples]`, float32, longer than n_fft // 2.
      rate: sample rate in Hz.
      cutoff_hz: middle of the transition.
      transition_hz: width of the raised-cosine blend; the two weights add to 1.
      n_fft: FFT size in samples; the hop is a quarter of it.

    Returns:
      float32 `[batch, samples]`.
    """
    samples, hop = low.shape[-1], n_fft // 4
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    position = np.clip((bins - cutoff_hz) / max(transition_hz, rate / n_fft) + 0.5, 0.0, 1.0)
    weight = (0.5 - 0.5 * np.cos(np.pi * position)).astype(np.float32)
    right = -samples % hop
    difference = jnp.pad(high - low, ((0, 0), (0, right)))
    return low + istft(stft(difference, n_fft, hop) * weight, n_fft, hop)[..., :samples]
