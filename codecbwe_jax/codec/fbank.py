"""Input features of the semantic encoder: Kaldi-like log mel, stacked in pairs."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.mel import mel_filterbank, mel_spectrum
from codecbwe_jax.audio.stft import frame
from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.nn.lengths import mask_of, zero_after

FRAME_LENGTH, FRAME_SHIFT, N_FFT, N_MELS = 400, 160, 512, 80
PRE_EMPHASIS = 0.97
LOG_FLOOR = 1.1920929e-07
VARIANCE_FLOOR = 1e-7


@functools.cache
def povey_window() -> np.ndarray:
    """Symmetric Hann to the power 0.85, float32 `[400]`."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_LENGTH) / (FRAME_LENGTH - 1))
    return (hann**0.85).astype(np.float32)


@functools.cache
def kaldi_filterbank() -> np.ndarray:
    """80 triangles in Kaldi mel from 20 to 8000 Hz, float32 `[257, 80]`."""
    bank = mel_filterbank(INPUT_RATE, N_FFT, N_MELS, 20.0, 8000.0, scale="kaldi")
    bank[-1] = 0.0  # Kaldi leaves the Nyquist bin out
    return bank


def log_mel(waveform: jax.Array) -> jax.Array:
    """Kaldi log-mel energies, whole frames only.

    Args:
      waveform: `[B, samples]` at 16 kHz in [-1, 1].

    Returns:
      float32 `[B, 1 + (samples - 400) // 160, 80]`.

    Raises:
      ValueError: if the waveform is shorter than one frame.
    """
    power = power_spectrum(emphasised(kaldi_frames(waveform)))
    return jnp.log(jnp.maximum(mel_spectrum(power, kaldi_filterbank()), LOG_FLOOR))


def kaldi_frames(waveform: jax.Array) -> jax.Array:
    """Whole frames of a waveform `[B, samples]` in units of 16 bits: `[B, frames, 400]`."""
    return frame(waveform.astype(jnp.float32) * 32768.0, FRAME_LENGTH, FRAME_SHIFT)


def emphasised(frames: jax.Array) -> jax.Array:
    """Frames `[..., 400]` without their mean, each sample less most of the one before it."""
    frames = frames - frames.mean(axis=-1, keepdims=True)
    before = jnp.concatenate([frames[..., :1], frames[..., :-1]], axis=-1)
    return frames - PRE_EMPHASIS * before


def power_spectrum(frames: jax.Array) -> jax.Array:
    """Frames `[..., 400]` under the Povey window -> powers `[..., 257]`."""
    spectrum = jnp.fft.rfft(frames * povey_window(), N_FFT)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)


def mel_frames(samples: Any, edge: int) -> Any:
    """Mel frames of so many samples, numbers or arrays."""
    return 1 + (samples + 2 * edge - FRAME_LENGTH) // FRAME_SHIFT


def stacked_frames(samples: Any, edge: int) -> Any:
    """The encoder's frames of so many samples: two whole mel frames each."""
    return mel_frames(samples, edge) // 2


def stacked_fbank(waveform: jax.Array, edge: int, lengths: jax.Array | None = None) -> jax.Array:
    """Features that w2v-BERT 2.0 reads: log mel, every bin normalised over the waveform's frames
    (transformers' Xcodec2FeatureExtractor and NeuCodecFeatureExtractor).

    Args:
      waveform: `[B, samples]` at 16 kHz, already padded to whole hops of 320.
      edge: zeros added at both ends: 160 for X-Codec 2.0, 0 for NeuCodec.
      lengths: samples of each item, also whole hops (`nn.lengths`).

    Returns:
      float32 `[B, frames, 160]`: with k hops, k frames for edge 160 and k - 1 for edge 0.
    """
    samples = jnp.full(waveform.shape[0], waveform.shape[1]) if lengths is None else lengths
    waveform = zero_after(waveform, lengths)
    mel = log_mel(jnp.pad(waveform, ((0, 0), (edge, edge))))
    frames = mel_frames(samples, edge)
    mask = mask_of(frames, mel.shape[1])[..., None]
    frames = frames[:, None, None]
    mean = jnp.sum(mel, axis=1, keepdims=True, where=mask) / frames
    variance = jnp.sum(jnp.square(mel - mean), axis=1, keepdims=True, where=mask) / (frames - 1)
    mel = (mel - mean) / jnp.sqrt(variance + VARIANCE_FLOOR)
    pairs = mel.shape[1] // 2
    return mel[:, : 2 * pairs].reshape(mel.shape[0], pairs, 2 * N_MELS)
