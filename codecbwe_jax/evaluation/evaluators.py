"""Evaluators: what a run measures of itself. The trainer knows this contract and nothing else.

An entry of `config.evaluators` names a type and how often it runs; `run(params)` yields
(name, value) pairs, where a value is a float, `Audio` or `Image`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import soxr

from codecbwe_jax.data.pipeline import read_segment
from codecbwe_jax.data.recordings import Recording
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation import metrics
from codecbwe_jax.evaluation.figures import spectrogram_pixels
from codecbwe_jax.fields import Count, CountOrNone, Field, Within, fields_of, tagged
from codecbwe_jax.systems import build_sampling
from codecbwe_jax.systems.base import Params, System
from codecbwe_jax.systems.multiply_adds import multiply_adds
from codecbwe_jax.systems.sampling import SamplingSettings


class Audio(NamedTuple):
    """Samples `[n]` at `rate` Hz."""

    samples: np.ndarray
    rate: int


class Image(NamedTuple):
    """Pixels `[height, width, 3]`, uint8."""

    pixels: np.ndarray


Value = float | Audio | Image
# (true waveform, its rate in Hz) -> what a system is given of it
Hear = Callable[[np.ndarray, int], np.ndarray]


class Evaluator(Protocol):
    """Attributes: every: steps between two runs."""

    every: int

    def run(self, params: Params) -> Iterator[tuple[str, Value]]: ...


class Extension:
    """Extend fixed validation clips: log-spectral distances, SNR, sharpness, and media. A system
    with nothing to extend, such as a codec, is measured by LSD, SNR and SI-SDR.

    Args:
      system: what runs.
      recordings: to take clips from, evenly spaced through the list; one that cannot be read is
        named, and another takes its place.
      every: steps between two runs.
      clips, seconds: how many, and how long each.
      media: of how many clips audio and spectrograms are given.
      hear: makes the system's input of a target and its rate; None resamples.
      sampling: how the system samples; None: by its defaults.
    """

    def __init__(
        self,
        system: System,
        recordings: Sequence[Recording],
        every: Count,
        clips: Count,
        seconds: Annotated[float, Within(0.1, 3600)],
        media: CountOrNone,
        hear: Hear | None = None,
        sampling: SamplingSettings | None = None,
    ) -> None:
        self.every, self.media, self.system = every, media, system
        self.targets = _targets(
            recordings, clips, system.output_rate, int(seconds * system.output_rate)
        )
        self.inputs = [
            hear(t, system.output_rate)
            if hear
            else soxr.resample(t, system.output_rate, system.input_rate)
            for t in self.targets
        ]
        self._extend = jax.jit(system.extend)
        # each clip is a whole
        self._samplings = [
            system.sampling(sampling, survey=system.survey([given[:, None]], sampling))
            for given in self.inputs
        ]
        if sampling and self.inputs:
            clip = jnp.asarray(self.inputs[0])[None]
            cost = multiply_adds(system.extend, system.shapes(), clip, self._samplings[0])
            told = f"{len(self.inputs)} clips of {seconds:g} s, {cost / 1e9:.2g} GMAC each"
            print(f"sampling of every {every} steps: {told} ({sampling})", flush=True)
        self._media_given = False

    def run(self, params: Params) -> Iterator[tuple[str, Value]]:
        """Yield means over clips, then media; targets only the first time."""
        rate, cut = self.system.output_rate, self.system.input_rate / 2
        params, rows = jax.device_put(params), []
        clips = zip(self.inputs, self._samplings, self.targets, strict=True)
        for i, (narrow, sampling, target) in enumerate(clips):
            output = np.asarray(self._extend(params, narrow[None], sampling))[0, : len(target)]
            row = {"lsd": metrics.lsd(output, target), "snr": metrics.snr(output, target)}
            if cut < rate / 2:
                row |= {
                    "lsd_low": metrics.lsd_low(output, target, rate, cut),
                    "lsd_high": metrics.lsd_high(output, target, rate, cut),
                    "sharpness": metrics.sharpness(output, target, rate, cut),
                }
            else:
                row["si_sdr"] = metrics.si_sdr(output, target)
            rows.append(row)
            if i < self.media:
                yield f"clip_{i}/output", Audio(output, rate)
                yield f"clip_{i}/output_spectrogram", Image(spectrogram_pixels(output, rate))
                if not self._media_given:
                    yield f"clip_{i}/target", Audio(target, rate)
                    yield f"clip_{i}/target_spectrogram", Image(spectrogram_pixels(target, rate))
        self._media_given = True
        for name in rows[0] if rows else ():
            values = [row[name] for row in rows]
            if not np.all(np.isnan(values)):
                yield name, float(np.nanmean(values))


def _targets(
    recordings: Sequence[Recording], clips: int, rate: int, samples: int
) -> list[np.ndarray]:
    """A stretch `[samples]` of each of so many recordings, fewer if fewer can be read."""
    even = np.unique(np.linspace(0, len(recordings) - 1, clips).astype(int)) if recordings else ()
    others = sorted(set(range(len(recordings))) - set(even))
    targets = []
    for i in (*even, *others):
        if len(targets) == len(even):
            break
        try:
            targets.append(read_segment(recordings[i], rate, samples, 0.3))
        except UserError as error:
            print(f"no validation clip of {recordings[i].name}: {error}", flush=True)
    return targets


EVALUATORS = {"extension": Extension}
# what they may give, by which the best checkpoint is chosen; no system has all
FIGURES = ("lsd", "lsd_low", "lsd_high", "snr", "si_sdr", "sharpness")
SAMPLING = "what differs here from `config.sampling`: fewer steps, so that training need not wait"


def _fields(kind: str) -> dict[str, Field]:
    own = fields_of(EVALUATORS[kind], ("system", "recordings", "hear", "sampling"))
    return {**own, "sampling": Field(dict[str, Any], {}, SAMPLING)}


# The kind of an entry of `config.evaluators`.
Settings = tagged("type", EVALUATORS, _fields)


def build(
    system: System,
    recordings: Sequence[Recording],
    settings: Any,
    hear: Hear | None = None,
    sampling: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Evaluator]:
    """The evaluators that a config names.

    Args:
      system, recordings, hear: as of `Extension`.
      settings: `config.evaluators`.
      sampling: `config.sampling`, over which an evaluator's own goes.

    Returns:
      `{name: evaluator}`.

    Raises:
      UserError: on an unknown type or setting.
    """
    built = {}
    for name, entry in settings.items():
        options = entry.to_dict()
        kind = options.pop("type")
        if kind not in EVALUATORS:
            raise UserError(f"config.evaluators.{name}.type {kind!r}; known: {list(EVALUATORS)}")
        where = f"config.evaluators.{name}"
        sampled = {**sampling, **options.pop("sampling", {})}
        options["sampling"] = build_sampling(system, sampled, f"{where}.sampling")
        try:
            built[name] = EVALUATORS[kind](system, recordings, hear=hear, **options)
        except TypeError as error:
            raise UserError(f"{where}: {error}") from None
    return built
