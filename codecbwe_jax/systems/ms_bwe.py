"""Multi-stage extension: one band after another, from and to any rate of a ladder.

Lu, Ai, Sheng, Ling, "Multi-Stage Speech Bandwidth Extension with Flexible Sampling Rate Control",
Interspeech 2024, publishes the ladder of rates, AP-BWE's two streams in every stage, and teacher
forcing between stages. Widths, spectra and the schedule here are ours. All signals stand on one
grid at 48 kHz, so that a stage is a function of spectra.

Source: arXiv 2406.02250, no public code
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp

from codecbwe_jax.audio.resample import resample, whole_hops
from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.audio.stft import istft, phase, stft
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import CountOrNone, Fraction, Layers, Precision, Rate, Size
from codecbwe_jax.nn.init import fresh_variables
from codecbwe_jax.systems.ap_bwe import AMPLITUDE_FLOOR, ApBwe, ApBweNetwork, polar, seen
from codecbwe_jax.systems.base import Features, Params, Regression
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.weights.rules import Rule, under

LADDER = (8000, 12000, 16000, 24000, 32000, 48000)
GRID = LADDER[-1]
RESAMPLER = "hann24"


class Teacher(NamedTuple):
    """The truth that stages are given in training.

    Attributes:
      spectrum: complex `[B, T, bins]`.
      forced: bool `[B, stages]`: that stage is given it below its edge.
    """

    spectrum: jax.Array
    forced: jax.Array


@dataclasses.dataclass(frozen=True)
class MsBwe(Regression):
    """Multi-stage extension as a system.

    Attributes:
      input_rate: lowest rate that it takes, in Hz; of `LADDER`.
      output_rate: highest rate that it gives, likewise.
      channels, layers: of every stage's streams.
      n_fft, hop_length, win_length: of the STFT, in samples at 48 kHz.
      teacher_samples: training samples over which stages change from the true lower bands to what
        the stage before gave; 0: always what it gave.
      phase_floor: share of a frame's largest magnitude up to which a bin is empty and has phase 0;
        0: angles as they are.
      compute_dtype: "float32" or "bfloat16"; spectra and heads are float32 always.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = under(
        "stage_{rate}", "stage_{rate}", ApBwe.torch_rules
    )

    input_rate: Rate = 16000
    output_rate: Rate = 48000
    channels: Size = 256
    layers: Layers = 4
    n_fft: Size = 1024
    hop_length: Size = 80
    win_length: Size = 320
    teacher_samples: CountOrNone = 0
    phase_floor: Fraction = 0.0
    compute_dtype: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("input_rate", "output_rate"):
            if getattr(self, name) not in LADDER:
                raise UserError(f"{name} {getattr(self, name)}; the ladder has {LADDER}")
        if self.input_rate >= self.output_rate:
            raise UserError(f"input_rate {self.input_rate} is not below {self.output_rate}")

    @property
    def stages(self) -> list[tuple[int, int]]:
        """(from, to) of each stage, in Hz. 32 kHz is a step only towards itself."""
        last = self.output_rate
        steps = [r for r in LADDER if self.input_rate <= r <= last and (r != 32000 or last == r)]
        return list(itertools.pairwise(steps))

    def edge(self, rate: int) -> int:
        """First bin above what a rate holds."""
        if rate == GRID:
            return self.n_fft // 2 + 1
        return math.ceil(rate / 2 * self.n_fft / GRID)

    def stage_network(self, stage: tuple[int, int]) -> ApBweNetwork:
        """Of one stage."""
        bins = (self.edge(stage[0]), self.edge(stage[1]))
        return ApBweNetwork(self.channels, self.layers, jnp.dtype(self.compute_dtype), bins)

    @property
    def receptive_field(self) -> int:
        frames = len(self.stages) * 3 * (self.layers + 1) + 1
        samples = frames * self.hop_length + self.win_length
        width = sinc_kernel(self.input_rate, GRID, SINC_FILTERS[RESAMPLER])[1]
        return math.ceil(samples * self.input_rate / GRID) + 2 * width + 2

    @property
    def alignment(self) -> int:
        """The fewest input samples that are whole hops, and whole samples of the output."""
        samples = whole_hops(self.hop_length, self.input_rate, GRID)
        return samples * self.input_rate // math.gcd(samples * self.output_rate, self.input_rate)

    @property
    def decided_by_rounding(self) -> bool:
        return self.phase_floor == 0.0

    def to(self, rate: int) -> Self:
        """To a lower step of the ladder."""
        if self.input_rate < rate <= self.output_rate and rate in LADDER:
            return dataclasses.replace(self, output_rate=rate)
        return super().to(rate)

    def at(self, rate: int) -> Self:
        """From the highest step of the ladder that the rate reaches."""
        steps = [r for r in LADDER if self.input_rate <= r <= rate and r < self.output_rate]
        steps = [r for r in steps if r != 32000]
        return dataclasses.replace(self, input_rate=max(steps)) if steps else self

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters: "stage_<from rate>" of each stage."""
        spectrum = jax.ShapeDtypeStruct((1, 8, self.n_fft // 2 + 1), jnp.complex64)
        features = jax.eval_shape(lambda z: seen(z, self.phase_floor), spectrum)
        keys = jax.random.split(key, len(self.stages))
        return {
            f"stage_{stage[0]}": fresh_variables(self.stage_network(stage), k, *features)["params"]
            for stage, k in zip(self.stages, keys, strict=True)
        }

    def analyse(self, waveform: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Log-amplitude and complex spectrum `[B, T, bins]` of a waveform at 48 kHz."""
        z = stft(waveform, self.n_fft, self.hop_length, self.win_length)
        return jnp.log(jnp.abs(z) + AMPLITUDE_FLOOR), z

    def cascade(
        self, params: Params, spectrum: jax.Array, teacher: Teacher | None = None
    ) -> jax.Array:
        """All stages.

        Args:
          params: of the stages.
          spectrum: complex `[B, T, bins]`; bins below the input's edge are kept as they are.
          teacher: None: every stage is given what the one before gave.

        Returns:
          Complex `[B, T, bins]`, 0 above the output's edge.
        """
        bins = spectrum.shape[-1]
        known = spectrum[..., : self.edge(self.input_rate)]
        for i, stage in enumerate(self.stages):
            given = known
            if teacher:
                true = teacher.spectrum[..., : known.shape[-1]]
                given = jnp.where(teacher.forced[:, i, None, None], true, known)
            given = jnp.pad(given, ((0, 0), (0, 0), (0, bins - given.shape[-1])))
            network = self.stage_network(stage).bind({"params": params[f"stage_{stage[0]}"]})
            out = network(*seen(given, self.phase_floor))
            new = polar(out["log_amplitude"], out["real"], out["imag"])
            known = jnp.concatenate([known, new], axis=-1)
        return jnp.pad(known, ((0, 0), (0, 0), (0, bins - known.shape[-1])))

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at input_rate -> at output_rate, of whole hops."""
        wide = resample(inputs, self.input_rate, GRID, RESAMPLER)
        spectrum = self.cascade(params, self.analyse(wide)[1])
        waveform = istft(spectrum, self.n_fft, self.hop_length, self.win_length)
        return resample(waveform, GRID, self.output_rate, RESAMPLER)

    def predict(self, params: Params, batch: Mapping[str, jax.Array]) -> Features:
        """Predicted "log_amplitude", "phase", "spectrum", and the "waveform"; the bands of all
        stages stand in one spectrum."""
        target = batch["target"]
        wide = resample(batch["input"], self.input_rate, GRID, RESAMPLER)
        samples = target.shape[1] * GRID // self.output_rate
        _, spectrum = self.analyse(wide[:, :samples])
        teacher = None
        if self.teacher_samples:
            _, truth = self.analyse(resample(target, self.output_rate, GRID, RESAMPLER))
            teacher = Teacher(truth, self._forced(batch["index"]))
        spectrum = self.cascade(params, spectrum, teacher)
        waveform = istft(spectrum, self.n_fft, self.hop_length, self.win_length)
        return self._features(spectrum) | {
            "waveform": resample(waveform, GRID, self.output_rate, RESAMPLER)
        }

    def target(self, batch: Mapping[str, jax.Array]) -> Features:
        """The same features of the true waveform, cut to whole hops as the prediction is."""
        wide = resample(batch["target"], self.output_rate, GRID, RESAMPLER)
        _, spectrum = self.analyse(wide)
        spectrum = spectrum.at[..., self.edge(self.output_rate) :].set(0)
        whole = wide.shape[1] // self.hop_length * self.hop_length * self.output_rate // GRID
        return self._features(spectrum) | {"waveform": batch["target"][:, :whole]}

    def _features(self, spectrum: jax.Array) -> Features:
        log_amplitude = jnp.log(jnp.abs(spectrum) + AMPLITUDE_FLOOR)
        return {"log_amplitude": log_amplitude, "phase": phase(spectrum), "spectrum": spectrum}

    def _forced(self, index: jax.Array) -> jax.Array:
        """Which stages of which items are given the truth: less and less with the number of
        samples that were drawn, bool `[B, stages]`. The first stage's input is the input."""
        share = jnp.clip(1 - index / self.teacher_samples, 0, 1)

        def draw(i: jax.Array, probability: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(0), i)
            return jax.random.bernoulli(key, probability, (len(self.stages),))

        return jax.vmap(draw)(index, share).at[:, 0].set(False)
