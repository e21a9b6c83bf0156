"""Short-time Fourier transform and its inverse, as torch.stft and Vocos define them."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.window import WINDOWS

Padding = Literal["center", "zeros", "same", "none"]


def frame(x: jax.Array, frame_length: int, hop_length: int) -> jax.Array:
    """Cut overlapping frames: `[..., samples]` -> `[..., frames, frame_length]`.

    Frames that would reach past the end are left out.

    Raises:
      ValueError: if the signal is shorter than one frame.
    """
    samples = x.shape[-1]
    if samples < frame_length:
        raise ValueError(f"{samples} samples are too few for one frame of {frame_length}")
    frames = 1 + (samples - frame_length) // hop_length
    # Slices of whole hops instead of a gather: its gradient would be a slow scatter.
    overlap = -(-frame_length // hop_length)
    blocks = frames + overlap - 1
    missing = blocks * hop_length - samples
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, max(missing, 0))])[..., : blocks * hop_length]
    x = x.reshape(*x.shape[:-1], blocks, hop_length)
    pieces = [x[..., r : r + frames, :] for r in range(overlap)]
    return jnp.concatenate(pieces, axis=-1)[..., :frame_length]


def overlap_add(frames: jax.Array, hop_length: int) -> jax.Array:
    """Sum overlapping frames: `[..., frames, length]` -> `[..., (frames - 1) * hop + length]`."""
    count, length = frames.shape[-2:]
    overlap = -(-length // hop_length)
    lead = [(0, 0)] * (frames.ndim - 2)
    frames = jnp.pad(frames, [*lead, (0, 0), (0, overlap * hop_length - length)])
    frames = frames.reshape(*frames.shape[:-1], overlap, hop_length)
    shifted = [
        jnp.pad(frames[..., r, :], [*lead, (r, overlap - 1 - r), (0, 0)]) for r in range(overlap)
    ]
    total = sum(shifted[1:], shifted[0])
    flat = total.reshape(*total.shape[:-2], -1)
    return flat[..., : (count - 1) * hop_length + length]


def _pad(x: jax.Array, side: int, mode: str) -> jax.Array:
    widths = [(0, 0)] * (x.ndim - 1) + [(side, side)]
    return jnp.pad(x, widths, mode=mode)


def stft(
    x: jax.Array,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: str = "hann",
    padding: Padding = "center",
) -> jax.Array:
    """Short-time Fourier transform, not normalised.

    Args:
      x: waveform `[..., samples]`, float32.
      n_fft: FFT size in samples; a shorter window is zero-padded in its middle.
      hop_length: samples between frames.
      win_length: window length in samples, `n_fft` if None.
      window: a name in `audio.window.WINDOWS`.
      padding: "center" reflects n_fft // 2 samples at both ends (torch.stft center=True); "zeros"
        puts as many zeros there (its pad_mode "constant", librosa's default); "same" reflects
        (n_fft - hop_length) // 2 (Vocos, HiFi-GAN); "none" adds nothing.

    Returns:
      complex64 `[..., frames, n_fft // 2 + 1]`. The imaginary part of DC and, for an even
      n_fft, of Nyquist is +0.0, so that their phase is 0 or +pi and never -pi.

    Raises:
      ValueError: if the waveform is too short for the padding or for one frame.
    """
    win_length = win_length or n_fft
    side, mode = {
        "center": (n_fft // 2, "reflect"),
        "zeros": (n_fft // 2, "constant"),
        "same": ((n_fft - hop_length) // 2, "reflect"),
        "none": (0, "constant"),
    }[padding]
    if mode == "reflect" and 0 < side >= x.shape[-1]:
        raise ValueError(f"{x.shape[-1]} samples are too few to reflect {side} (n_fft {n_fft})")
    x = _pad(x.astype(jnp.float32), side, mode)
    left = (n_fft - win_length) // 2
    right = n_fft - win_length - left
    x = x[..., left : x.shape[-1] - right]
    frames = frame(x, win_length, hop_length) * WINDOWS[window](win_length)
    frames = jnp.pad(frames, [(0, 0)] * (frames.ndim - 1) + [(left, right)])
    return _with_real_edges(jnp.fft.rfft(frames), n_fft)


def _with_real_edges(spectrum: jax.Array, n_fft: int) -> jax.Array:
    edges = np.zeros(n_fft // 2 + 1, bool)
    edges[0] = True
    edges[-1] |= n_fft % 2 == 0
    return jax.lax.complex(spectrum.real, jnp.where(edges, 0.0, spectrum.imag))


def istft(
    spectrum: jax.Array,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    padding: Literal["center", "same"] = "center",
    lengths: jax.Array | None = None,
    window: str = "hann",
    samples: int | None = None,
) -> jax.Array:
    """Inverse of `stft`: weighted overlap-add over the squared window.

    Args:
      spectrum: complex64 `[..., frames, n_fft // 2 + 1]`; imaginary parts of DC and Nyquist are
        ignored.
      n_fft, hop_length, win_length: as in `stft`.
      padding: "center" is torch.istft(center=True): `(frames - 1) * hop_length` samples;
        "same" is Vocos (gemelo-ai/vocos spectral_ops.py): `frames * hop_length` samples, one
        more when win_length - hop_length is odd.
      lengths: frames of each item `[batch]` for a spectrum `[batch, frames, bins]`; the frames
        after them count for nothing, and the samples that they would have made mean nothing.
      window: as in `stft`, one that is not 0 inside.
      samples: of the result, if not as many as above; beyond the last window they are 0
        (torch.istft's length).

    Returns:
      float32 waveform `[..., samples]`.
    """
    win_length = win_length or n_fft
    left = (n_fft - win_length) // 2
    shape = WINDOWS[window](win_length)
    frames = synthesis_frames(spectrum, n_fft, win_length, window)
    if lengths is not None:
        mask = (jnp.arange(frames.shape[1]) < lengths[:, None])[..., None]
        frames = jnp.where(mask, frames, 0.0)
    y = overlap_add(frames, hop_length)
    if padding == "center":
        start = n_fft // 2 - left
        stop = y.shape[-1] - win_length + (n_fft - n_fft // 2 - left)
    else:
        start = (win_length - hop_length) // 2
        stop = y.shape[-1] - start
    if lengths is None:
        envelope = window_envelope(shape, spectrum.shape[-2], hop_length)
    else:
        envelope = overlap_add(mask * jnp.square(shape), hop_length)
        envelope = jnp.where(envelope > 1e-11, envelope, 1.0)
    if samples is not None:
        stop = start + samples
    y = y[..., start:stop] / envelope[..., start:stop]
    missing = 0 if samples is None else samples - y.shape[-1]
    return jnp.pad(y, [(0, 0)] * (y.ndim - 1) + [(0, missing)]) if missing else y


def synthesis_frames(
    spectrum: jax.Array, n_fft: int, win_length: int, window: str = "hann"
) -> jax.Array:
    """What `istft` adds up: `[..., frames, n_fft // 2 + 1]` -> `[..., frames, win_length]`, under
    the window."""
    left = (n_fft - win_length) // 2
    frames = jnp.fft.irfft(spectrum, n_fft)[..., left : left + win_length]
    return frames * WINDOWS[window](win_length)


def window_envelope(window: np.ndarray, frames: int, hop_length: int) -> np.ndarray:
    """Overlap-added squared window, made on the host because it depends on shapes only; float32
    `[(frames - 1) * hop_length + len(window)]`, 1 where no window reaches."""
    envelope = np.zeros((frames - 1) * hop_length + len(window), np.float64)
    samples = np.arange(frames)[:, None] * hop_length + np.arange(len(window))
    np.add.at(envelope, samples, np.broadcast_to(window.astype(np.float64) ** 2, samples.shape))
    return np.where(envelope > 1e-11, envelope, 1.0).astype(np.float32)


def phase(spectrum: jax.Array) -> jax.Array:
    """Angle in (-pi, pi] of a complex array, 0 with zero gradient where the spectrum is 0.

    `jnp.angle` has a NaN gradient at 0, which digital silence reaches.
    """
    empty = spectrum == 0
    return jnp.angle(jnp.where(empty, 1.0 + 0.0j, spectrum))
