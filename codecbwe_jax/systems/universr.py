"""UniverSR: a flow on the bins that are missing of a compressed complex spectrum, to 48 kHz.

The bins that the input has are kept, so there is no vocoder and no seam. What the field is told of
them is made once for each clip, not at every step. Each clip is brought to one peak before the
network and back after it: compressed magnitudes depend on level.

Source: woongzip1/UniverSR (arXiv 2510.00771)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.compressed_spectrum import CompressedSpectrum
from codecbwe_jax.audio.measures import Peak
from codecbwe_jax.audio.resample import resample, whole_hops
from codecbwe_jax.errors import UserError
from codecbwe_jax.estimators.universr import UniversrNetwork, join, split
from codecbwe_jax.estimators.universr_condition import Condition, frequency_code
from codecbwe_jax.fields import Count, Layers, NotNegative, Positive, Precision, Rate, Size
from codecbwe_jax.solvers import paths
from codecbwe_jax.solvers.guidance import guided
from codecbwe_jax.solvers.ode import solve
from codecbwe_jax.systems.base import OneNetwork, Params
from codecbwe_jax.systems.sampling import Measure, NoiseSettings, Sampling, SamplingSettings, given
from codecbwe_jax.weights.rules import Rule

RESAMPLER = "hann24"
# input rates that the network knows, in Hz
RATES = (8000, 12000, 16000, 24000)
# the middle of the peaks that the original is trained on, and what is not raised to it: silence
PEAK, QUIETEST = 10 ** (-3.5 / 20), 1e-4
# seconds that the network is given, whose norms see all of them, and on each side of them what
# neighbours fade into
SPAN, CONTEXT = 4.0, 0.25


@dataclasses.dataclass(frozen=True)
class UniversrSampling(NoiseSettings):
    """How UniverSR samples.

    Attributes:
      steps: of the solver.
      solver: a method in `solvers.ode.METHODS`.
      guidance: how far the field is led away from what it says without a condition; 1: not at all.
    """

    steps: Count = 4
    solver: Literal["euler", "midpoint", "heun", "rk4"] = "midpoint"
    guidance: NotNegative = 1.5


@dataclasses.dataclass(frozen=True)
class Universr(OneNetwork):
    """UniverSR as a system.

    Attributes:
      input_rate: in Hz, one of `RATES`.
      output_rate: in Hz.
      dims, depths: widths of the stages, and blocks of each.
      time_size: of the time's embedding, even.
      condition_size, condition_layers: of what makes the condition.
      n_fft, hop_length: of the spectrum, in samples at output_rate.
      known: bins that an input of each of `RATES` has; those above the first are generated.
      sigma: standard deviation of the noise that is left at the end.
      compute_dtype: "float32" or "bfloat16", of convolutions.
    """

    sampling_kind: ClassVar[type[SamplingSettings]] = UniversrSampling
    torch_rules: ClassVar[tuple[Rule, ...]] = UniversrNetwork.torch_rules

    input_rate: Rate = 16000
    output_rate: Rate = 48000
    dims: tuple[Size, ...] = (96, 192, 384, 768)
    depths: tuple[Layers, ...] = (2, 2, 4, 2)
    time_size: Size = 256
    condition_size: Size = 384
    condition_layers: Layers = 4
    n_fft: Size = 1024
    hop_length: Size = 512
    known: tuple[Size, ...] = (80, 128, 170, 256)
    sigma: Positive = 1e-4
    compute_dtype: Precision = "float32"

    def __post_init__(self) -> None:
        if self.input_rate not in RATES:
            raise UserError(f"input_rate {self.input_rate}: there are {', '.join(map(str, RATES))}")
        if len(self.known) != len(RATES) or list(self.known) != sorted(self.known):
            raise UserError(f"known {self.known}: {len(RATES)} rising numbers, one for each rate")
        if len(self.dims) != len(self.depths):
            raise UserError(f"dims {self.dims} and depths {self.depths} are not of one length")
        if self.known[-1] >= self.spectrum_bins:
            raise UserError(f"known {self.known}: a spectrum has {self.spectrum_bins} bins")

    @property
    def spectrum_bins(self) -> int:
        return self.n_fft // 2

    @property
    def generated_bins(self) -> int:
        return self.spectrum_bins - self.known[0]

    @property
    def known_bins(self) -> int:
        """Those of an input at input_rate."""
        return self.known[RATES.index(self.input_rate)]

    @property
    def spectrum(self) -> CompressedSpectrum:
        return CompressedSpectrum(self.n_fft, self.hop_length)

    @property
    def network(self) -> UniversrNetwork:
        return UniversrNetwork(
            self.dims,
            self.depths,
            self.time_size,
            self.condition_size,
            self.condition_layers,
            self.spectrum_bins,
            self.generated_bins,
            len(RATES),
            jnp.dtype(self.compute_dtype),
        )

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        frames = self.network.least_frames
        x, known = (
            jax.ShapeDtypeStruct((1, frames, bins, 2), jnp.float32)
            for bins in (self.generated_bins, self.known_bins)
        )
        time = jax.ShapeDtypeStruct((1,), jnp.float32)
        return x, time, known, jax.ShapeDtypeStruct((1,), jnp.int32)

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        return {"freq_pos_enc.pe": frequency_code(self.spectrum_bins, self.condition_size)}

    @property
    def alignment(self) -> int:
        return whole_hops(self.hop_length, self.input_rate, self.output_rate)

    @property
    def receptive_field(self) -> int:
        """The network's norms have none: what neighbours of a `span` share."""
        return round(CONTEXT * self.input_rate)

    @property
    def span(self) -> int:
        return round(SPAN * self.input_rate)

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        frames = self.alignment * self.output_rate // self.input_rate // self.hop_length
        return frames, self.generated_bins, 2

    def at(self, rate: int) -> Self:
        """The highest of the rates that the network knows up to this one."""
        known = max((r for r in RATES if r <= rate), default=RATES[0])
        return dataclasses.replace(self, input_rate=known)

    def measures(self, settings: UniversrSampling) -> dict[str, Measure]:
        return {"peak": Peak()}

    def clean(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        z = self.spectrum.analyse(batch["target"] / _level(_peak(batch["input"])))
        return split(z, self.known_bins, self.generated_bins)[1]

    def condition(
        self, params: Params, batch: Mapping[str, jax.Array], dropped: jax.Array | None
    ) -> Condition:
        wide = self.upsample(batch["input"] / _level(_peak(batch["input"])))
        return self.encode(params, self.heard(wide[:, : batch["target"].shape[1]]), dropped)

    def prior(self, condition: Condition) -> jax.Array:
        return jnp.float32(0)  # its path begins in noise alone

    def flow_path(self) -> paths.Path:
        return paths.basic(self.sigma)

    def field(self, params: Params, x: jax.Array, t: jax.Array, condition: Condition) -> jax.Array:
        return self.network.bind({"params": params}).field(x, t, condition)

    def upsample(self, waveform: jax.Array) -> jax.Array:
        """`[B, n]` at input_rate -> `[B, ceil(n * output_rate / input_rate)]`."""
        return resample(waveform, self.input_rate, self.output_rate, RESAMPLER)

    def heard(self, wide: jax.Array) -> jax.Array:
        """The known bins `[B, T, F, 2]` of a waveform at output_rate."""
        return self.spectrum.analyse(wide)[:, :, : self.known_bins]

    def encode(self, params: Params, known: jax.Array, dropped: jax.Array | None) -> Condition:
        """What the field is told of known bins."""
        rate = jnp.full(len(known), RATES.index(self.input_rate))
        return self.network.bind({"params": params}).encode(known, rate, dropped)

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at input_rate, of `network.least_frames` or more -> `[B, hop_length *
        (frames - 1)]` at output_rate, the frames being its whole hops."""
        sampling = given(sampling)
        level = _level(sampling.survey["peak"])
        wide = self.upsample(inputs / level)
        frames = wide.shape[1] // self.hop_length
        known = self.heard(wide)[:, :frames]
        made = self.sample(params, known, sampling)
        z = join(known, made, self.spectrum_bins)
        return level * self.spectrum.synthesise(z)

    def sample(self, params: Params, known: jax.Array, sampling: Sampling) -> jax.Array:
        """The generated bins `[B, T, F_high, 2]` of known ones."""
        settings: UniversrSampling = sampling.settings
        network = self.network.bind({"params": params})
        told = self.encode(params, known, None)
        untold = network.encode_nothing(jnp.full(len(known), RATES.index(self.input_rate)))
        field = guided(
            lambda x, t: network.field(x, t, told),
            lambda x, t: network.field(x, t, untold),
            settings.guidance,
        )
        frames, *shape = self.noise_shape
        noise = sampling.noise(-(-known.shape[1] // frames), frames, *shape)
        noise = noise.reshape(len(known), -1, *shape)[:, : known.shape[1]]
        times = jnp.linspace(0.0, 1.0, settings.steps + 1)
        start = self.flow_path().start(jnp.float32(0), noise)
        return solve(field, start, times, settings.solver)


def _peak(waveform: jax.Array) -> jax.Array:
    return jnp.max(jnp.abs(waveform), axis=1)


def _level(peak: jax.Array) -> jax.Array:
    """`[B]` -> `[B, 1]`, what waveforms are divided by."""
    return jnp.maximum(peak, QUIETEST)[:, None] / PEAK
