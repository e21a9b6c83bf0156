"""UniverSR's network: a field on the bins that a low rate does not have, told those that it has.

Spectra are `[B, T, F, 2]`, float32: frames, bins, real and imaginary part (`audio.
compressed_spectrum`). Source: woongzip1/UniverSR universr/models/unet.py (arXiv 2510.00771).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.estimators.convnext_v2 import EPS, INIT, Down, Stage, Up
from codecbwe_jax.estimators.universr_condition import (
    PARTS,
    Condition,
    ConditionEncoder,
    InputLayer,
    frequency_code,
)
from codecbwe_jax.weights.rules import Rule, under

# Input rates of the published weights in Hz, and the bins of 46.875 Hz that are known at each.
KNOWN_BINS = {8000: 80, 12000: 128, 16000: 170, 24000: 256}


def rate_index(rate: int, known_bins: Mapping[int, int]) -> int:
    """Number of an input rate among those that the network knows, the lowest being 0."""
    return sorted(known_bins).index(rate)


def split(spectrum: jax.Array, known: int, generated: int) -> tuple[jax.Array, jax.Array]:
    """What the network is told and what it generates, which overlap where more is known than at
    the lowest rate: it generates the same bins at all rates.

    Args:
      spectrum: `[B, T, F, 2]`.
      known: bins at the bottom that the input has.
      generated: bins at the top that the network generates.

    Returns:
      `[B, T, known, 2]` and `[B, T, generated, 2]`.
    """
    return spectrum[:, :, :known], spectrum[:, :, spectrum.shape[2] - generated :]


def join(known: jax.Array, generated: jax.Array, bins: int) -> jax.Array:
    """The whole of `split`'s two, `[B, T, bins, 2]`: what is known stays.

    Raises:
      ValueError: if there are bins between them.
    """
    shared = known.shape[2] + generated.shape[2] - bins
    if shared < 0:
        raise ValueError(f"{-shared} of {bins} bins are neither known nor generated")
    return jnp.concatenate([known, generated[:, :, shared:]], axis=2)


class TimeCode(nn.Module):
    """Times `[B]` in [0, 1] -> sines and cosines of learnt rates, float32 `[B, size]`."""

    size: int

    @nn.compact
    def __call__(self, t: jax.Array) -> jax.Array:
        rates = self.param("weights", nn.initializers.normal(1.0), (1, self.size // 2))
        angles = 2 * math.pi * t[:, None] * rates
        return math.sqrt(2) * jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class UniversrNetwork(nn.Module):
    """The network, whose `encode` a sampler runs once and whose `field` it runs at every step.

    T is any number from `least_frames` up; it is reflected to whole strides inside.

    Attributes:
      dims: widths of the stages.
      depths: blocks of each stage; the last one's are in the middle too.
      time_size: of the time's embedding, even.
      condition_size: width of the condition encoder, even.
      condition_layers: its blocks.
      bins: of a spectrum.
      generated_bins: those at its top that the field is on.
      rates: how many input rates there are.
      dtype: of convolutions and matrix products; norms, sums and embeddings are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("time_embedder/weights", "time_embedder.weights", "array"),
        Rule("sr_embedder/embedding", "sr_embedder.weight", "array"),
        Rule("sr_projector", "sr_projector", "dense"),
        Rule("film_generator", "film_generator", "dense"),
        Rule("uncond_emb", "uncond_emb", "array"),
        *under("conditioning_encoder", "conditioning_encoder", ConditionEncoder.torch_rules),
        Rule("init_conv_0", "init_conv.0", "conv"),
        Rule("init_conv_1", "init_conv.1", "norm"),
        *under("encoders_{i}", "encoders.{i}", Down.torch_rules),
        *under("midcoder", "midcoder", Stage.torch_rules),
        *under("decoders_{i}", "decoders.{i}", Up.torch_rules),
        Rule("final_conv", "final_conv", "conv"),
    )

    dims: Sequence[int] = (96, 192, 384, 768)
    depths: Sequence[int] = (2, 2, 4, 2)
    time_size: int = 256
    condition_size: int = 384
    condition_layers: int = 4
    bins: int = 512
    generated_bins: int = 432
    rates: int = 4
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        dtype, size, normal = self.dtype, self.condition_size, nn.initializers.normal(1.0)
        self.time_embedder = TimeCode(self.time_size)
        self.sr_embedder = nn.Embed(self.rates, size, embedding_init=normal)
        self.sr_projector = nn.Dense(self.time_size, kernel_init=INIT)
        self.film_generator = nn.Dense(2 * size, kernel_init=INIT)
        self.uncond_emb = self.param("uncond_emb", normal, (size,))
        self.conditioning_encoder = ConditionEncoder(size, self.condition_layers, dtype)
        self.init_conv_0 = InputLayer(self.dims[0], size, dtype)
        self.init_conv_1 = nn.LayerNorm(EPS, dtype=dtype)
        below = (*self.dims[1:], self.dims[-1])
        self.encoders = [Down(*sizes, dtype) for sizes in zip(self.depths, below, strict=True)]
        self.midcoder = Stage(self.depths[-1], dtype)
        ups = zip(self.depths[::-1], self.dims[::-1], strict=True)
        self.decoders = [Up(*sizes, dtype) for sizes in ups]
        self.final_conv = nn.Conv(PARTS, (1, 1), kernel_init=INIT)

    @property
    def stride(self) -> int:
        """Frames of a position at the lowest stage."""
        return 2 ** len(self.dims)

    @property
    def least_frames(self) -> int:
        """Of which the lowest stage has 4 positions, as many as its kernels' reflections need."""
        return 3 * self.stride + 1

    def encode(
        self, known: jax.Array, rate: jax.Array, dropped: jax.Array | None = None
    ) -> Condition:
        """What the field is told.

        Args:
          known: the bins of a low rate `[B, T, F_low, 2]`.
          rate: `rate_index` of each item, int32 `[B]`; all have the same number of known bins.
          dropped: bool `[B]`, True for items that are told their rate alone; None: no item.
        """
        embedded = self.sr_embedder(rate)
        code = jnp.asarray(frequency_code(self.bins, self.condition_size))[: known.shape[2]]
        frames = self.conditioning_encoder(self._whole_strides(known), code, embedded)
        if dropped is not None:
            frames = jnp.where(dropped[:, None, None], self.uncond_emb, frames)
        return Condition(self._spread(frames), self.sr_projector(embedded))

    def encode_nothing(self, rate: jax.Array) -> Condition:
        """What the field is told of items that are all dropped, without a look at them."""
        frames = jnp.broadcast_to(self.uncond_emb, (len(rate), 1, self.condition_size))
        return Condition(self._spread(frames), self.sr_projector(self.sr_embedder(rate)))

    def field(self, x: jax.Array, t: jax.Array, condition: Condition) -> jax.Array:
        """The slope of the flow.

        Args:
          x: where it is, the generated bins `[B, T, F_high, 2]`.
          t: times `[B]` in [0, 1].
          condition: of `encode`, for as many frames.

        Returns:
          float32 `[B, T, F_high, 2]`.
        """
        time = self.time_embedder(t) + condition.rate
        y = self.init_conv_0(self._whole_strides(x)) + condition.bins
        y = self.init_conv_1(y)
        skips = [y]
        for stage in self.encoders:
            y = stage(y, time)
            skips.append(y)
        y = self.midcoder(y, time)
        for stage in self.decoders:
            skip = skips.pop()
            # a stage drops the last of an odd number of bins; the nearest of one more is the first
            missing = skip.shape[2] - y.shape[2]
            y = jnp.pad(y, ((0, 0), (0, 0), (missing, 0), (0, 0)), mode="edge") + skip
            y = stage(y, time)
        y = (y + skips.pop()).astype(jnp.float32)
        return self.final_conv(y)[:, : x.shape[1]]

    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        known: jax.Array,
        rate: jax.Array,
        dropped: jax.Array | None = None,
    ) -> jax.Array:
        """Both, one after the other."""
        return self.field(x, t, self.encode(known, rate, dropped))

    def _spread(self, frames: jax.Array) -> jax.Array:
        """Vectors of frames over all generated bins, as the first layer sees them."""
        code = frequency_code(self.bins, self.condition_size)[-self.generated_bins :]
        gain, offset = jnp.split(self.film_generator(code), 2, axis=-1)
        return self.init_conv_0.of_condition(frames, gain, offset)

    def _whole_strides(self, x: jax.Array) -> jax.Array:
        missing = -x.shape[1] % self.stride
        return jnp.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0)), mode="reflect")
