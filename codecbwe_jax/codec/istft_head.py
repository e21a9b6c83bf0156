"""The ISTFT head: one spectrum a frame, with an overlap of four."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.stft import istft
from codecbwe_jax.interop.weights import Rule


class IstftHead(nn.Module):
    """Linear layer to log magnitude and phase, exp and clip, inverse STFT: `[B, T, C]` ->
    `[B, T * hop_length]`, float32; `lengths` as in `audio.stft.istft`.

    Source: Vocos (arXiv 2306.00814) as X-Codec 2.0 has it.

    Attributes:
      hop_length: samples for each frame; n_fft is four times that.
      clip: largest magnitude, in units of the unnormalised spectrum.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (Rule("linear", "linear", "dense"),)

    hop_length: int
    clip: float = 100.0

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        n_fft = 4 * self.hop_length
        x = nn.Dense(n_fft + 2, name="linear")(x.astype(jnp.float32))
        magnitude, phase = polar_parts(x, self.clip)
        spectrum = jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
        return istft(spectrum, n_fft, self.hop_length, padding="same", lengths=lengths)


def polar_parts(x: jax.Array, clip: float) -> tuple[jax.Array, jax.Array]:
    """Head outputs `[B, T, 2 * bins]` -> (magnitude at most `clip`, phase in radians)."""
    log_magnitude, phase = jnp.split(x, 2, axis=-1)
    return jnp.minimum(jnp.exp(log_magnitude), clip), phase
