"""Two heads on one backbone: the old rate below a crossover, twice that rate above it."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.crossover import fir_crossover
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.decoders.upsampler import SnakeUpsampler
from codecbwe_jax.interop.weights import Rule, under
from codecbwe_jax.nn.lengths import zero_after


class DualPathHead(nn.Module):
    """An ISTFT head at half the output rate, a Snake upsampler and an ISTFT head at the whole rate,
    joined by a crossover: `[B, T, C]` -> `[B, T * 2 * hop_length]`, float32.

    After LinaCodec (ysharma3501/LinaCodec vocos.py), whose crossover is one FFT over the whole clip
    (`audio.crossover.whole_clip_crossover`); here it is a filter of fixed length, so that an output
    sample depends neither on the clip's length nor on its far end.

    Attributes:
      hop_length: samples for each frame at half the output rate; n_fft is four times that in both
        heads.
      output_rate: in Hz.
      crossover_hz: the first head is heard below, the second above.
      clip: largest magnitude in either head.
      dtype: of the upsampler's convolutions.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *under("low", "head", IstftHead.torch_rules),
        *under("upsampler", "upsampler", SnakeUpsampler.torch_rules),
        *under("high", "head_48k", IstftHead.torch_rules),
    )

    hop_length: int
    output_rate: int
    crossover_hz: float
    clip: float = 100.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Make a waveform; `lengths` as in `IstftHead`."""

        def cut(waveform: jax.Array, hop_length: int) -> jax.Array:
            # with an odd hop an inverse STFT gives one sample more
            waveform = waveform[:, : x.shape[1] * hop_length]
            return zero_after(waveform, None if lengths is None else lengths * hop_length)

        low = cut(IstftHead(self.hop_length, self.clip, name="low")(x, lengths), self.hop_length)
        low = resample(low, self.output_rate // 2, self.output_rate, "torchaudio")
        finer = SnakeUpsampler(dtype=self.dtype, name="upsampler")(x, lengths)
        twice = None if lengths is None else 2 * lengths
        high = IstftHead(self.hop_length, self.clip, name="high")(finer, twice)
        low, high = (cut(w, 2 * self.hop_length) for w in (low, high))
        return fir_crossover(low, high, self.output_rate, self.crossover_hz)
