"""The IMDCT heads of Vocos: real coefficients in place of magnitude and phase.

They are made of our parts, which weights of others check so; no system has this head.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.stft import overlap_add
from codecbwe_jax.nn.lengths import zero_after
from codecbwe_jax.weights.rules import Rule


class ImdctHead(nn.Module):
    """Linear layer to MDCT coefficients, inverse MDCT with a sine window: `[B, T, C]` ->
    `[B, T * hop_length]`, float32.

    Source: gemelo-ai/vocos heads.py and spectral_ops.py.

    Attributes:
      hop_length: samples for each frame, and coefficients; the window is twice as long.
      form: "cos": exp and clip of one half times the cosine of the other; "symexp": sign and
        exp - 1 of one value.
      clip: largest coefficient.
      padding: "same" centres frames on hops; "center" gives one hop less.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (Rule("linear", "linear", "dense"),)

    hop_length: int
    form: Literal["cos", "symexp"] = "symexp"
    clip: float = 100.0
    padding: Literal["same", "center"] = "same"

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Make a waveform; `lengths` as in `IstftHead`."""
        outputs = self.hop_length * (2 if self.form == "cos" else 1)
        y = nn.Dense(outputs, name="linear")(x.astype(jnp.float32))
        coefficients = zero_after(mdct_coefficients(y, self.form, self.clip), lengths)
        waveform = overlap_add(imdct_frames(coefficients), self.hop_length)
        side = self.hop_length // (2 if self.padding == "same" else 1)
        return waveform[..., side : waveform.shape[-1] - side]


def mdct_coefficients(y: jax.Array, form: Literal["cos", "symexp"], clip: float) -> jax.Array:
    """A layer's outputs -> MDCT coefficients in [-clip, clip]."""
    if form == "cos":
        magnitude, phase = jnp.split(y, 2, axis=-1)
        return jnp.minimum(jnp.exp(magnitude), clip) * jnp.cos(phase)
    return jnp.clip(jnp.sign(y) * jnp.expm1(jnp.abs(y)), -clip, clip)


def imdct_frames(coefficients: jax.Array) -> jax.Array:
    """Inverse MDCT, orthonormal, windowed: `[..., N]` -> `[..., 2 N]`.

    An even extension of the coefficients and one inverse FFT between two rotations.
    """
    n = coefficients.shape[-1]
    k, shift = np.arange(2 * n), (n + 1) / 2
    before = np.exp(1j * np.pi * shift * k / n).astype(np.complex64)
    after = np.exp(1j * np.pi * (k + shift) / (2 * n)).astype(np.complex64)
    window = np.sin(np.pi * (k + 0.5) / (2 * n)).astype(np.float32)
    whole = jnp.concatenate([coefficients, -coefficients[..., ::-1]], axis=-1)
    frames = jnp.fft.ifft(whole * before) * after
    return frames.real * np.float32(np.sqrt(2 * n)) * window
