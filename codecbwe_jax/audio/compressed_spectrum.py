"""A complex spectrum whose magnitudes are compressed and whose phases stay."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from codecbwe_jax.audio.stft import istft, stft

# below this power a magnitude counts as this much, so that a power of 0 has a gradient
SMALLEST = 1e-20


@dataclasses.dataclass(frozen=True)
class CompressedSpectrum:
    """The transform and its inverse, without the Nyquist bin. Not exact: the inverse has no Nyquist
    bin and keeps the offset.

    Source: woongzip1/UniverSR universr/utils/spectral_ops.py AmplitudeCompressedComplexSTFT.

    Attributes:
      n_fft: FFT size and window length in samples, even; the window is a symmetric Hann window.
      hop_length: samples between frames.
      exponent: of the magnitudes.
      gain: factor after the compression.
      offset: added to real parts before it, so that silence has a direction.
    """

    n_fft: int = 1024
    hop_length: int = 512
    exponent: float = 0.2
    gain: float = 1.0
    offset: float = 1e-4

    def analyse(self, waveform: jax.Array) -> jax.Array:
        """`[B, samples]`, more than n_fft // 2 -> float32 `[B, 1 + samples // hop_length,
        n_fft // 2, 2]`: frames, bins, real and imaginary part."""
        z = stft(waveform, self.n_fft, self.hop_length, window="symmetric_hann")[..., :-1]
        parts = jnp.stack([z.real + self.offset, z.imag], axis=-1)
        return self.gain * _with_magnitude(parts, self.exponent)

    def synthesise(self, spectrum: jax.Array, samples: int | None = None) -> jax.Array:
        """Its inverse.

        Args:
          spectrum: `[B, frames, n_fft // 2, 2]`.
          samples: wanted, less than `frames * hop_length`; None: `(frames - 1) * hop_length`.
            What is more lies under the end of one window, which is divided by.

        Returns:
          float32 `[B, samples]`.
        """
        parts = _with_magnitude(spectrum / self.gain, 1 / self.exponent)
        z = jnp.pad(jax.lax.complex(parts[..., 0], parts[..., 1]), ((0, 0), (0, 0), (0, 1)))
        n_fft, hop = self.n_fft, self.hop_length
        return istft(z, n_fft, hop, window="symmetric_hann", samples=samples)


def _with_magnitude(parts: jax.Array, exponent: float) -> jax.Array:
    """The magnitudes of `[..., 2]` raised to a power, in the same directions."""
    power = jnp.sum(jnp.square(parts), axis=-1, keepdims=True)
    return parts * jnp.maximum(power, SMALLEST) ** ((exponent - 1) / 2)
