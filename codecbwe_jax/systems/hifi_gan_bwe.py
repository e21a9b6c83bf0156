"""HiFi-GAN+: a non-causal WaveNet on the upsampled waveform, of any rate from 8 kHz.

Su, Wang, Finkelstein, Jin, "Bandwidth Extension is All You Need". At official size 1 061 378
parameters, 6273 of them gains of weight norms, and 64.1 GMAC/s with the silence around a second:
every layer runs at the output's rate.

Source: ICASSP 2021, brentspell/hifi-gan-bwe (MIT)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.sinc import SINC_FILTERS, SincFilterName, sinc_kernel
from codecbwe_jax.fields import Layers, Precision, Rate, Size
from codecbwe_jax.nn.conv import WeightNormConv
from codecbwe_jax.systems.base import Features, OneNetwork, Params, Regression
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.weights.rules import Rule


class WaveNet(nn.Module):
    """Gated dilated convolutions whose skips are added: `[B, T, 1]` -> `[B, T, 1]`, unbounded.

    Attributes:
      channels: width; a gate halves it.
      stacks, layers: each stack has so many layers.
      dilation_base: a layer's dilation over that of the layer before it.
      dtype: of the convolutions.
    """

    channels: Size = 128
    stacks: Layers = 2
    layers: Layers = 8
    dilation_base: Size = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self._conv(self.channels, 1, 1, "conv_in")(x)
        skips = jnp.zeros((), self.dtype)
        count = self.stacks * self.layers
        for i in range(count):
            dilation = self.dilation_base ** (i % self.layers)
            layer = WaveNetLayer(self.channels, dilation, self.dtype, name=f"layers_{i}")
            x, skip = layer(x)
            skips += skip
        return self._conv(1, 1, 1, "conv_out")(skips * math.sqrt(1 / count))

    def _conv(self, features: int, taps: int, dilation: int, name: str) -> WeightNormConv:
        return dilated_conv(features, taps, dilation, self.dtype, name)


class WaveNetLayer(nn.Module):
    """`[B, T, C]` -> (what the next layer takes, what is added to the output), `[B, T, C]` each.

    Attributes: as of `WaveNet`, and the layer's dilation.
    """

    channels: int
    dilation: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        both = dilated_conv(self.channels, 3, self.dilation, self.dtype, "conv")(x)
        value, gate = jnp.split(both, 2, axis=-1)
        y = jnp.tanh(value) * nn.sigmoid(gate)
        skip = dilated_conv(self.channels, 1, 1, self.dtype, "conv_skip")(y)
        out = dilated_conv(self.channels, 1, 1, self.dtype, "conv_out")(y)
        return (out + x) * math.sqrt(0.5), skip


def dilated_conv(
    features: int, taps: int, dilation: int, dtype: jnp.dtype, name: str
) -> WeightNormConv:
    """A convolution of the same length."""
    side = dilation * (taps - 1) // 2
    return WeightNormConv(features, (taps,), (1,), ((side, side),), dtype, (dilation,), name=name)


@dataclasses.dataclass(frozen=True)
class HifiGanBwe(OneNetwork, Regression):
    """HiFi-GAN+ as a system.

    Attributes:
      input_rate, output_rate: in Hz.
      channels, stacks, layers, dilation_base: see `WaveNet`.
      resampler: filter of the input's upsampling, a name in `audio.sinc.SINC_FILTERS`. The
        published weights need "kaiser16".
      compute_dtype: "float32" or "bfloat16".
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("conv_in", "_wavenet._conv_in", "wn_conv1d"),
        Rule("layers_{i}/{conv}", "_wavenet._layers.{i}._{conv}", "wn_conv1d"),
        Rule("conv_out", "_wavenet._conv_out", "wn_conv1d"),
    )

    input_rate: Rate = 16000
    output_rate: Rate = 48000
    channels: Size = 128
    stacks: Layers = 2
    layers: Layers = 8
    dilation_base: Size = 3
    resampler: SincFilterName = "kaiser16"
    compute_dtype: Precision = "float32"

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        """What the original's checkpoints hold beside parameters."""
        return {"sample_rate": np.asarray(self.output_rate, np.int64)}

    @property
    def upsampler(self) -> str:
        return self.resampler

    @property
    def network(self) -> WaveNet:
        dtype = jnp.dtype(self.compute_dtype)
        return WaveNet(self.channels, self.stacks, self.layers, self.dilation_base, dtype)

    @property
    def padding(self) -> int:
        """Output samples on each side that the network sees: 6560 at official size."""
        return self.stacks * sum(self.dilation_base**i for i in range(self.layers))

    @property
    def receptive_field(self) -> int:
        width = sinc_kernel(self.input_rate, self.output_rate, SINC_FILTERS[self.resampler])[1]
        return math.ceil(self.padding * self.input_rate / self.output_rate) + width + 1

    @property
    def alignment(self) -> int:
        return self.input_rate // math.gcd(self.input_rate, self.output_rate)

    def at(self, rate: int) -> Self:
        """The network sees the waveform at output_rate, so any rate below it will do."""
        return dataclasses.replace(self, input_rate=rate) if rate < self.output_rate else self

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct]:
        return (jax.ShapeDtypeStruct((1, 8, 1), jnp.float32),)

    def generate(self, params: Params, wide: jax.Array) -> jax.Array:
        """The network on an upsampled waveform: `[B, samples]` -> `[B, samples]`."""
        side = self.padding
        padded = jnp.pad(wide, ((0, 0), (side, side)))
        y = self.network.bind({"params": params})(padded[..., None])[..., 0]
        return jnp.tanh(y.astype(jnp.float32))[:, side : side + wide.shape[1]]

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at input_rate -> `[B, ceil(n * output_rate / input_rate)]`."""
        return self.generate(
            params, resample(inputs, self.input_rate, self.output_rate, self.resampler)
        )

    def predict(self, params: Params, batch: Mapping[str, jax.Array]) -> Features:
        """The predicted "waveform"; an "upsampled" input, at output_rate, is taken as it is."""
        wide = batch.get("upsampled")
        if wide is None:
            wide = resample(batch["input"], self.input_rate, self.output_rate, self.resampler)
        return {"waveform": self.generate(params, wide[:, : batch["target"].shape[1]])}
