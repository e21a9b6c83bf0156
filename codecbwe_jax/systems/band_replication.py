"""4 to 8 kHz copied upwards at fixed gains: the baseline that learns nothing."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from codecbwe_jax.audio.stft import istft, stft
from codecbwe_jax.systems.base import Params
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.systems.sinc import Sinc


@dataclasses.dataclass(frozen=True)
class BandReplication(Sinc):
    """The upper half of the input's band copied to each band above it, at fixed gains.

    STFT 2048/512; the phase of a copy advances by the shift, so that it continues from frame to
    frame.

    Attributes:
      gains_db: of each copy, from low to high.
    """

    n_fft: ClassVar[int] = 2048
    hop_length: ClassVar[int] = 512

    gains_db: tuple[float, ...] = (-1.8, -1.9, -2.0, -2.8)

    @property
    def receptive_field(self) -> int:
        return super().receptive_field + self.n_fft * self.input_rate // self.output_rate + 1

    @property
    def alignment(self) -> int:
        return self.n_fft

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` -> `[B, about n * output_rate / input_rate]`."""
        wide = super().extend(params, inputs)
        z = stft(wide, self.n_fft, self.hop_length)
        shift = round(self.input_rate / 4 * self.n_fft / self.output_rate)
        source, bins = z[..., shift : 2 * shift], self.n_fft // 2 + 1
        frames = jnp.arange(z.shape[-2])[:, None]
        pieces = [z[..., : 2 * shift]]
        for copy, gain in enumerate(self.gains_db, 1):
            turns = (frames * (copy * shift * self.hop_length % self.n_fft)) % self.n_fft
            turn = jnp.exp(2j * jnp.pi * turns / self.n_fft)
            pieces.append(source * turn * 10 ** (gain / 20))
        joined = jnp.concatenate(pieces, axis=-1)[..., :bins]
        joined = jnp.pad(joined, ((0, 0), (0, 0), (0, bins - joined.shape[-1])))
        return istft(joined, self.n_fft, self.hop_length)
