"""Splices: what is known of a spectrum below a bin, what is predicted from there on."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from codecbwe_jax.audio.cutoff import bins_below
from codecbwe_jax.audio.stft import istft, stft


def join_bins(known: jax.Array, predicted: jax.Array, cut: int | jax.Array) -> jax.Array:
    """Bins below the cut of one spectrum, the others of another.

    Args:
      known, predicted: spectra, complex or of mels, `[..., frames, bins]`.
      cut: the first bin that is predicted: an int, or int `[...]`.

    Returns:
      `[..., frames, bins]`.
    """
    return jnp.where(bins_below(cut, known.shape[-1]), known, predicted)


def splice(
    source: jax.Array, predicted: jax.Array, n_fft: int, hop_length: int, cut: int | jax.Array
) -> jax.Array:
    """`join_bins` of waveforms, by an STFT between zeros.

    resemble-ai/flowhigh postprocessing.py (2048/480); NVSR's is 2048/512.

    Args:
      source: `[..., n]`, float32.
      predicted: `[..., m]`, float32; what has more frames than the other loses them.
      n_fft, hop_length: in samples.
      cut: the first STFT bin that is predicted: an int, or int `[...]`.

    Returns:
      float32 `[..., n]`.
    """
    known, made = (stft(x, n_fft, hop_length, padding="zeros") for x in (source, predicted))
    frames = min(known.shape[-2], made.shape[-2])
    joined = join_bins(known[..., :frames, :], made[..., :frames, :], cut)
    return istft(joined, n_fft, hop_length, samples=source.shape[-1])
