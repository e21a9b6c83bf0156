"""The ISTFT head: one spectrum a frame."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.stft import istft
from codecbwe_jax.weights.rules import Rule


class IstftHead(nn.Module):
    """Linear layer to log magnitude and phase, exp and clip, inverse STFT: `[B, T, C]` ->
    `[B, T * hop_length]`, float32; `lengths` as in `audio.stft.istft`.

    Source: Vocos (arXiv 2306.00814) as X-Codec 2.0 has it.

    Attributes:
      hop_length: samples for each frame.
      clip: largest magnitude, in units of the unnormalised spectrum.
      n_fft: FFT size and window length in samples; None is four hops.
      hidden: width of a residual branch of two layers beside the linear one; 0: there is none.
        Its last layer starts at zero, so that it changes nothing at first.
      padding: "same" centres frames on hops; "center" is torch.istft's, one hop shorter.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (Rule("{layer}", "{layer}", "dense"),)

    hop_length: int
    clip: float = 100.0
    n_fft: int | None = None
    hidden: int = 0
    padding: Literal["same", "center"] = "same"

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        n_fft = self.n_fft or 4 * self.hop_length
        x = x.astype(jnp.float32)
        y = nn.Dense(n_fft + 2, name="linear")(x)
        if self.hidden:
            zeros = nn.initializers.zeros
            inner = nn.silu(nn.Dense(self.hidden, name="widening_in")(x))
            y = y + nn.Dense(n_fft + 2, kernel_init=zeros, name="widening_out")(inner)
        spectrum = spectrum_of(y, self.clip)
        return istft(spectrum, n_fft, self.hop_length, padding=self.padding, lengths=lengths)


def polar_parts(x: jax.Array, clip: float) -> tuple[jax.Array, jax.Array]:
    """Head outputs `[..., 2 * bins]` -> (magnitude at most `clip`, phase in radians)."""
    log_magnitude, phase = jnp.split(x, 2, axis=-1)
    return jnp.minimum(jnp.exp(log_magnitude), clip), phase


def spectrum_of(x: jax.Array, clip: float) -> jax.Array:
    """Head outputs `[..., 2 * bins]` -> complex spectrum `[..., bins]`."""
    magnitude, phase = polar_parts(x, clip)
    return jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
