"""NU-Wave 2: a diffusion of the waveform by Fourier convolutions, told which bins are known.

Han, Lee, "NU-Wave 2: A General Neural Audio Upsampling Model for Various Sampling Rates". One model
for inputs of all rates below its own: it is told the band of each. The figures are those of eight
steps, in each of which all layers run at the output's rate.

Source: Interspeech 2022, arXiv 2206.08545, maum-ai/nuwave2 (BSD-3-Clause)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.resample import resample, whole_hops
from codecbwe_jax.audio.sinc import SincFilterName
from codecbwe_jax.errors import UserError
from codecbwe_jax.estimators.nuwave2 import LOG_SNRS, NuWave2Network, level_of
from codecbwe_jax.fields import Count, Layers, Precision, Rate, Size, SizeOrNone
from codecbwe_jax.solvers.ddim import ddim
from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.solvers.ode import solve
from codecbwe_jax.solvers.probability_flow import probability_flow
from codecbwe_jax.solvers.schedules import cosine_log_snr, middles
from codecbwe_jax.systems.base import OneNetwork, Params
from codecbwe_jax.systems.sampling import NoiseSettings, Sampling, SamplingSettings, given
from codecbwe_jax.weights.rules import Rule

# output samples that it is given at once, as in training, and of them on each side of a chunk
SPAN, MARGIN = 32768, 4096
# the largest float16 below 1
HIGHEST = 1 - 2.0**-10


@dataclasses.dataclass(frozen=True)
class Nuwave2Sampling(NoiseSettings):
    """How NU-Wave 2 samples.

    Attributes:
      steps: evaluations of the network. 8: the original's own noise levels; others: equal steps.
      band_hz: up to where the input is known, in Hz; 0: half its rate.
    """

    steps: Count = 8
    band_hz: SizeOrNone = 0


@dataclasses.dataclass(frozen=True)
class Nuwave2(OneNetwork):
    """NU-Wave 2 as a system.

    Attributes:
      input_rate, output_rate: in Hz.
      n_fft, hop_length, layers, channels, embedding, band_channels, position_channels: see
        `NuWave2Network`.
      resampler: filter of the input's upsampling, a name in `audio.sinc.SINC_FILTERS`.
      compute_dtype: "float32" or "bfloat16".
    """

    sampling_kind: ClassVar[type[SamplingSettings]] = Nuwave2Sampling
    torch_rules: ClassVar[tuple[Rule, ...]] = NuWave2Network.torch_rules

    input_rate: Rate = 16000
    output_rate: Rate = 48000
    n_fft: Size = 1024
    hop_length: Size = 256
    layers: Layers = 15
    channels: Size = 64
    embedding: Size = 512
    band_channels: Size = 64
    position_channels: Size = 128
    resampler: SincFilterName = "hann24"
    compute_dtype: Precision = "float32"

    def __post_init__(self) -> None:
        if self.input_rate > self.output_rate:
            raise UserError(f"input_rate {self.input_rate} is above output_rate")
        if self.channels % 2:
            raise UserError(f"channels {self.channels} are not even")
        if self.position_channels % 2 or self.position_channels < 4:
            raise UserError(f"position_channels {self.position_channels} are not even, from 4")
        if self.n_fft % 2 or self.n_fft % self.hop_length or self.n_fft == self.hop_length:
            raise UserError(
                f"n_fft {self.n_fft} is not even, of two hops {self.hop_length} or more"
            )

    @property
    def network(self) -> NuWave2Network:
        return NuWave2Network(
            self.n_fft,
            self.hop_length,
            self.layers,
            self.channels,
            self.embedding,
            self.band_channels,
            self.position_channels,
            jnp.dtype(self.compute_dtype),
        )

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        return self.network.torch_constants

    @property
    def bins(self) -> int:
        """Of its spectra."""
        return self.n_fft // 2 + 1

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        wave = jax.ShapeDtypeStruct((1, self.n_fft), jnp.float32)
        level = jax.ShapeDtypeStruct((1,), jnp.float32)
        return wave, wave, level, jax.ShapeDtypeStruct((1, self.bins), jnp.int32)

    @property
    def upsampler(self) -> str:
        return self.resampler

    @property
    def frame(self) -> int:
        """Output samples of `alignment`."""
        return self.alignment * self.output_rate // self.input_rate

    @property
    def alignment(self) -> int:
        return whole_hops(self.hop_length, self.input_rate, self.output_rate)

    @property
    def receptive_field(self) -> int:
        """What a chunk is given on each side. The exact reach is that of the spectra, n_fft - 1
        output samples in each layer, for each step again: 2.6 seconds at official size."""
        return math.ceil(MARGIN * self.input_rate / self.output_rate)

    @property
    def span(self) -> int:
        return max(SPAN // self.frame * self.alignment, 3 * self.context)

    @property
    def noise_shape(self) -> tuple[int]:
        return (self.frame,)

    def at(self, rate: int) -> Self:
        """The network sees the waveform at output_rate and is told the band."""
        return dataclasses.replace(self, input_rate=rate) if rate < self.output_rate else self

    def band(self, rate: int | jax.Array) -> jax.Array:
        """Which bins a waveform of some rate has, bool `[..., bins]`; rates are int32 `[...]`."""
        known = jnp.asarray(rate)[..., None] * self.bins // self.output_rate
        return jnp.arange(self.bins) < known

    def clean(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The true waveform, of whole hops."""
        return batch["target"]

    def condition(self, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """The input at output_rate, "low" `[B, samples]`, and the bins that it has, "band"."""
        if "upsampled" in batch:
            return {"low": batch["upsampled"], "band": self.band(batch["source_rate"])}
        low = resample(batch["input"], self.input_rate, self.output_rate, self.resampler)
        low = low[:, : batch["target"].shape[1]]
        return {"low": low, "band": self._bands(self.input_rate, len(low))}

    def level(self, times: jax.Array) -> Level:
        """Noise levels at times `[B]`, from 0, clean, to 1."""
        return level_of(cosine_log_snr(times))

    def estimate(
        self, params: Params, x: jax.Array, level: Level, condition: Mapping[str, jax.Array]
    ) -> jax.Array:
        """The noise in noisy waveforms `[B, samples]`, of whole hops."""
        network, (low, band) = self.network, (condition[name] for name in ("low", "band"))
        return network.bind({"params": params})(x, low, level.time, band)

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at input_rate -> `[B, ceil(n * output_rate / input_rate)]`."""
        sampling = given(sampling)
        settings, samples = sampling.settings, inputs.shape[1]
        whole = jnp.pad(inputs, ((0, 0), (0, -samples % self.alignment)))
        low = resample(whole, self.input_rate, self.output_rate, self.resampler)
        rate = 2 * settings.band_hz or self.input_rate
        known = {"low": low, "band": self._bands(rate, len(low))}

        def denoise(x: jax.Array, level: Level) -> jax.Array:
            return level.clean_of_noise(x, self.estimate(params, x, level, known))

        noise = sampling.noise(whole.shape[1] // self.alignment, *self.noise_shape)
        wide = self._sampled(denoise, noise.reshape(low.shape), settings.steps)
        return jnp.clip(wide, -1, HIGHEST)[:, : -(-samples * self.output_rate // self.input_rate)]

    def _sampled(self, denoise: Any, noise: jax.Array, steps: int) -> jax.Array:
        """From noise to a waveform, `[B, samples]`."""
        if steps == len(LOG_SNRS) - 1:
            return ddim(denoise, noise, level_of(np.asarray(LOG_SNRS, np.float32)))
        times = jnp.asarray(middles(steps), jnp.float32)
        return solve(probability_flow(denoise, self.level), noise, times, "euler")

    def _bands(self, rate: int, batch: int) -> jax.Array:
        return jnp.broadcast_to(self.band(rate), (batch, self.bins))
