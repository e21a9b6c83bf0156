"""Heads of several bands: one small ISTFT each, joined by a bank of filters."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.pqmf import Pqmf, join
from codecbwe_jax.audio.stft import istft
from codecbwe_jax.decoders.istft_head import spectrum_of
from codecbwe_jax.nn.lengths import zero_after
from codecbwe_jax.weights.rules import Rule


class MultibandIstftHead(nn.Module):
    """Spectra of all bands from one linear layer, an inverse STFT at the bands' rate, PQMF
    synthesis: `[B, T, C]` -> `[B, T * hop_length * bands]`, float32.

    The layer's outputs are band-major; in a band first log magnitudes, then phases. Odd bands are
    mirrored in frequency (`audio.pqmf`). After MB-iSTFT (arXiv 2210.15975).

    Attributes:
      bands: number of bands.
      hop_length: samples at a band's rate for each frame; n_fft is four times that.
      clip: largest magnitude in a band.
      taps: of the filters.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (Rule("linear", "linear", "dense"),)

    bands: int
    hop_length: int
    clip: float = 100.0
    taps: int = 62

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Make a waveform; `lengths` as in `IstftHead`."""
        outputs = 4 * self.hop_length + 2
        y = nn.Dense(self.bands * outputs, name="linear")(x.astype(jnp.float32))
        y = y.reshape(*y.shape[:2], self.bands, outputs)
        return self.synthesise(band_waveforms(y, self.hop_length, self.clip, lengths))

    def synthesise(self, bands: jax.Array) -> jax.Array:
        """Bands `[B, samples, bands]` -> waveform `[B, samples * bands]`."""
        return Pqmf(self.bands, self.taps).synthesis(bands)


class MultistreamIstftHead(MultibandIstftHead):
    """The same with synthesis filters that are trained, beginning as the PQMF's: streams then are
    whatever training makes of them. After MS-iSTFT (arXiv 2210.15975) and MS-Vocos (arXiv
    2506.03554), whose filters begin at random."""

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("linear", "linear", "dense"),
        Rule("synthesis", "synthesis.weight", "kernel"),
    )

    def synthesise(self, bands: jax.Array) -> jax.Array:
        def init(key: jax.Array, shape: tuple[int, ...]) -> np.ndarray:
            del key
            return Pqmf(self.bands, self.taps).filters()[1].T.reshape(shape)

        return join(bands, self.param("synthesis", init, (self.taps + 1, self.bands, 1)))


def band_waveforms(
    outputs: jax.Array, hop_length: int, clip: float, lengths: jax.Array | None = None
) -> jax.Array:
    """A layer's outputs -> band waveforms.

    Args:
      outputs: `[B, T, bands, n_fft + 2]`, log magnitudes, then phases.
      hop_length: samples for each frame.
      clip: largest magnitude.
      lengths: frames of each item; zeros follow its bands.

    Returns:
      `[B, T * hop_length, bands]`.
    """
    batch, frames, bands, width = outputs.shape
    spectrum = spectrum_of(outputs.swapaxes(1, 2).reshape(-1, frames, width), clip)
    repeated = None if lengths is None else jnp.repeat(lengths, bands)
    waves = istft(spectrum, width - 2, hop_length, padding="same", lengths=repeated)
    waves = waves.reshape(batch, bands, -1).swapaxes(1, 2)
    return zero_after(waves, None if lengths is None else lengths * hop_length)
