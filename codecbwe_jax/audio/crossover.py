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


def fir_crossover(
    low: jax.Array, high: jax.Array, rate: int, cutoff_hz: float, transition_hz: float = 600.0
) -> jax.Array:
    """Take `low` below the cut-off and `high` above it, by one linear-phase filter of fixed length.

    What is passed of one is exactly what is stopped of the other: equal inputs come out unchanged.

    Args:
      low, high: waveforms `[batch, samples]`, float32, of any length.
      rate: sample rate in Hz.
      cutoff_hz: where both are halved.
      transition_hz: width in which one takes over from the other (60 dB).

    Returns:
      float32 `[batch, samples]`; a sample depends on `1.8 * rate / transition_hz` samples on each
      side.
    """
    taps = 2 * round(1.8 * rate / transition_hz) + 1
    window = scipy.signal.firwin(taps, cutoff_hz, window=("kaiser", 5.65), fs=rate)
    difference = jax.lax.conv_general_dilated(
        (low - high)[..., None],
        window.astype(np.float32)[:, None, None],
        window_strides=(1,),
        padding=[(taps // 2, taps // 2)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return high + difference[..., 0]


def high_pass(
    x: jax.Array, rate: int, stop_hz: float, pass_hz: float, attenuation_db: float = 100.0
) -> jax.Array:
    """Linear-phase high-pass without delay; arguments as of `high_pass_taps`, x `[batch,
    samples]`."""
    taps = high_pass_taps(rate, stop_hz, pass_hz, attenuation_db)
    y = jax.lax.conv_general_dilated(
        x[..., None],
        taps[:, None, None],
        window_strides=(1,),
        padding=[(len(taps) // 2, len(taps) // 2)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return y[..., 0]


def high_pass_taps(
    rate: int, stop_hz: float, pass_hz: float, attenuation_db: float = 100.0
) -> np.ndarray:
    """A Kaiser-windowed high-pass, 6 dB down midway between the two frequencies.

    Args:
      rate: sample rate in Hz.
      stop_hz, pass_hz: where it is down by the attenuation, and where it passes all.
      attenuation_db: below stop_hz.

    Returns:
      float32 `[odd]`.
    """
    count, beta = scipy.signal.kaiserord(attenuation_db, (pass_hz - stop_hz) / (rate / 2))
    middle = (stop_hz + pass_hz) / 2
    taps = scipy.signal.firwin(
        count | 1, middle, window=("kaiser", beta), pass_zero="highpass", fs=rate
    )
    return taps.astype(np.float32)


def whole_clip_crossover(
    low: jax.Array, high: jax.Array, rate: int, cutoff_hz: float, transition_bins: int = 8
) -> jax.Array:
    """LinaCodec's crossover: one FFT over the whole clip and a cubic step of a few of its bins.

    It is circular, and its width in Hz depends on the clip's length; it is here for weights that
    were trained with it. Source: ysharma3501/LinaCodec linkwitz.py.

    Args:
      low, high: waveforms `[batch, samples]`, float32.
      rate: sample rate in Hz.
      cutoff_hz: middle of the step.
      transition_bins: width of the step in bins of the clip's FFT.

    Returns:
      float32 `[batch, samples]`.
    """
    samples = low.shape[-1]
    mask = whole_clip_mask(samples, rate, cutoff_hz, transition_bins)
    spectra = (jnp.fft.rfft(x) for x in (low, high))
    below, above = (s * m for s, m in zip(spectra, (1 - mask, mask), strict=True))
    return jnp.fft.irfft(below + above, samples)


def whole_clip_mask(
    samples: int, rate: int, cutoff_hz: float, transition_bins: int = 8
) -> np.ndarray:
    """Weight of the upper signal in each bin of `whole_clip_crossover`, float32
    `[samples // 2 + 1]`."""
    bins, half = samples // 2 + 1, transition_bins // 2
    middle = int(cutoff_hz / (rate / 2) * bins)
    first, last = max(middle - half, 0), min(middle + half, bins)
    mask = np.zeros(bins, np.float32)
    u = np.linspace(0, 1, last - first)
    mask[first:last] = 3 * u**2 - 2 * u**3
    mask[last:] = 1.0
    return mask
