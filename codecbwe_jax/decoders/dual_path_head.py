"""Two heads on one backbone: the old rate below a crossover, twice that rate above it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import jax
from flax import linen as nn

from codecbwe_jax.audio.crossover import fir_crossover
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.decoders.upsampler import SnakeUpsampler
from codecbwe_jax.nn.lengths import zero_after
from codecbwe_jax.weights.rules import Rule, under


class DualPathHead(nn.Module):
    """A head at half the output rate, an upsampler and a head at the whole rate, joined by a
    crossover: `[B, T, C]` -> `[B, T * 2 * low.hop_length]`, float32.

    After LinaCodec (ysharma3501/LinaCodec vocos.py), whose crossover is one FFT over the whole clip
    (`audio.crossover.whole_clip_crossover`); the default is a filter of fixed length, so that an
    output sample depends neither on the clip's length nor on its far end.

    Attributes:
      low: the head at half the output rate.
      upsampler: makes the frames of the second head.
      high: the head at the output rate.
      output_rate: in Hz.
      crossover_hz: the first head is heard below, the second above.
      crossover: (low, high, rate, crossover in Hz) -> waveform; all waveforms `[B, samples]`.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *under("low", "head", IstftHead.torch_rules),
        *under("upsampler", "upsampler", SnakeUpsampler.torch_rules),
        *under("high", "head_48k", IstftHead.torch_rules),
    )

    low: IstftHead
    upsampler: SnakeUpsampler
    high: IstftHead
    output_rate: int
    crossover_hz: float
    crossover: Callable[[jax.Array, jax.Array, int, float], jax.Array] = fir_crossover

    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Make a waveform; `lengths` as in `IstftHead`."""

        def cut(waveform: jax.Array, hop_length: int) -> jax.Array:
            # with an odd hop an inverse STFT gives one sample more
            waveform = waveform[:, : x.shape[1] * hop_length]
            return zero_after(waveform, None if lengths is None else lengths * hop_length)

        hop_length = self.low.hop_length
        low = cut(self.low(x, lengths), hop_length)
        low = resample(low, self.output_rate // 2, self.output_rate, "torchaudio")
        finer = None if lengths is None else lengths * math.prod(self.upsampler.factors)
        high = self.high(self.upsampler(x, lengths), finer)[:, : low.shape[1]]
        low, high = (cut(w, 2 * hop_length) for w in (low, high))
        return self.crossover(low, high, self.output_rate, self.crossover_hz)
