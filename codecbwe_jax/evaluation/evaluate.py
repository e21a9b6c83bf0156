"""Extend clips with several models and score what was written to disk."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from codecbwe_jax.audio import files
from codecbwe_jax.config import write_json
from codecbwe_jax.data.lowpass import LOWPASSES
from codecbwe_jax.data.pipeline import read_segment
from codecbwe_jax.data.recordings import Recording
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation.columns import FIGURES, RECONSTRUCTION, VISQOL, Figure
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model, content_hash
from codecbwe_jax.inference.token_decoder import TokenDecoder
from codecbwe_jax.inference.windows import zeros_after
from codecbwe_jax.systems import check_hears
from codecbwe_jax.systems.base import System
from codecbwe_jax.systems.sinc import Sinc


@dataclasses.dataclass(frozen=True)
class Row:
    """A model's figures.

    Attributes:
      name: the model's.
      means: over clips and low-passes.
      clips: the means of each clip.
      by_lowpass: the means of each low-pass.
      real_time_factor: seconds of computing per second of output.
      facts: what else is known of it, heading to text.
      ceiling: whether it is a part of a model that was given the truth: no model, but what a stage
        before it that makes no mistake would come to.
    """

    name: str
    means: dict[str, float]
    clips: list[dict[str, float]]
    by_lowpass: dict[str, dict[str, float]]
    real_time_factor: float
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    ceiling: bool = False

    @property
    def spread(self) -> float:
        """Largest minus smallest LSD above the edge of all low-passes."""
        values = [means["lsd_high"] for means in self.by_lowpass.values()]
        return max(values) - min(values)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation made.

    Attributes:
      folder: holds `clips/NN_<name>.flac` and `scores.json`.
      rate: of the outputs in Hz.
      edge_hz: upper end of the input's band.
      figures: the columns.
      rows: one for each model, then one for each of their parts that repeats what it is given.
      clips: names of the clips.
      left_out: recordings that cannot be read, each with the reason.
      codec: content hash of the codec whose output was extended, if there was one.
      lowpasses: names of the filters that made the inputs; none: soxr's HQ, or the codec.
    """

    folder: Path
    rate: int
    edge_hz: float
    figures: tuple[Figure, ...]
    rows: list[Row]
    clips: list[str]
    left_out: list[tuple[str, str]]
    codec: str | None = None
    lowpasses: tuple[str, ...] = ()

    def waveform(self, clip: int, name: str, lowpass: str = "") -> np.ndarray:
        """Samples of a written file: `name` is "input", "target" or a model's."""
        return files.read(self.path(clip, name, lowpass))[0][:, 0]

    def path(self, clip: int, name: str, lowpass: str = "") -> Path:
        """Of a written file; without a low-pass the first one's. All have one target."""
        words = [name] if name == "target" else [name, lowpass or "".join(self.lowpasses[:1])]
        stem = re.sub(r"[^A-Za-z0-9]+", "_", "_".join(word for word in words if word))
        return self.folder / "clips" / f"{clip:02d}_{stem}.flac"


def heard_rate(systems: Sequence[System], codec: System | None) -> int:
    """Rate in Hz of what systems hear in one table.

    Args:
      systems: to stand there; baselines take any rate.
      codec: whose tokens or output they are given; None: low-passed recordings.

    Raises:
      UserError: if they cannot stand together.
    """
    if codec is None and any(s.takes == "tokens" for s in systems):
        raise UserError("native decoders need the codec that makes their tokens: --codec=FOLDER")
    learnt = [s for s in systems if s.takes == "waveform" and not isinstance(s, Sinc)]
    if codec:
        for system in learnt:
            check_hears(system, codec)
        return codec.output_rate
    rates = sorted({s.input_rate for s in learnt or systems})
    if len(rates) != 1:
        raise UserError(f"models of input rates {rates} cannot stand in one table")
    return rates[0]


def evaluate(
    models: Sequence[Model],
    recordings: Sequence[Recording],
    folder: Path,
    max_seconds: float = 10.0,
    visqol: bool = False,
    say: Callable[[str], None] = print,
    codec: FrozenCodec | None = None,
    figures: tuple[Figure, ...] = FIGURES,
    lowpasses: Sequence[str] = (),
) -> Evaluation:
    """Give every model what it would hear of recordings, write everything, score the files.

    Args:
      models: of the same input rate; outputs are brought to the highest of the output rates.
      recordings: true wide-band recordings; the first `max_seconds` of each count. One that cannot
        be read is named and left out.
      folder: gets the clips and `scores.json`.
      max_seconds: longest clip.
      visqol: also compute ViSQOL (needs the "visqol" extra).
      say: gets progress, line by line.
      codec: what the models hear is its reconstruction; None: the recording at their rate.
      figures: columns; `RECONSTRUCTION` takes their place if nothing is extended.
      lowpasses: names in `data.lowpass.LOWPASSES`: each makes an input of every clip; none: soxr's
        HQ does.

    Raises:
      UserError: if models, codec and low-passes do not go together, no recording can be read, or
        nothing can be written.
    """
    heard = heard_rate([m.system for m in models], codec.system if codec else None)
    models = [_hearing(model, heard) for model in models]
    rate = max(m.system.output_rate for m in models)
    _check_lowpasses(lowpasses, codec, extends=heard < rate)
    figures = figures if heard < rate else RECONSTRUCTION
    figures = (*figures, VISQOL) if visqol else figures
    codec_name = codec.content_hash if codec else None
    result = Evaluation(folder, rate, heard / 2, figures, [], [], [], codec_name, tuple(lowpasses))
    for recording in recordings:
        samples = int(min(recording.seconds, max_seconds) * rate)
        try:
            target = read_segment(recording, rate, samples, 0.0)
        except UserError as error:
            say(f"left out {recording.name}: {error}")
            result.left_out.append((recording.name, str(error)))
            continue
        _write_clip(result, target, heard, codec)
        result.clips.append(recording.name)
    if not result.clips:
        raise UserError(f"none of {len(recordings)} recordings can be read (reasons above)")
    for model in models:
        say(f"{model.name}: extending {len(result.clips)} clips")
        run_on = _from_tokens if model.system.takes == "tokens" else _from_waveform
        result.rows.append(_row(model, result, run_on(model, result, codec)))
    for part in _repeating_parts(models):
        say(f"{part.name}: repeating {len(result.clips)} clips")
        row = _row(part, result, _from_truth(part, result))
        result.rows.append(dataclasses.replace(row, ceiling=True))
    write_json(folder / "scores.json", _scores(result))
    return result


def _hearing(model: Model, rate: int) -> Model:
    """The model; a baseline at the rate that the others hear."""
    if not isinstance(model.system, Sinc):
        return model
    return dataclasses.replace(model, system=dataclasses.replace(model.system, input_rate=rate))


def _check_lowpasses(names: Sequence[str], codec: FrozenCodec | None, extends: bool) -> None:
    unknown = [name for name in names if name not in LOWPASSES]
    if unknown:
        raise UserError(f"no low-pass {', '.join(unknown)}; there are {', '.join(LOWPASSES)}, all")
    if names and codec:
        raise UserError("a codec makes the models' input itself: give --codec or --lowpass")
    if names and not extends:
        raise UserError("--lowpass: these models add nothing above their input's band")


def _write_clip(
    result: Evaluation, target: np.ndarray, heard: int, codec: FrozenCodec | None
) -> None:
    """Write the next clip's target, and what the models hear of it."""
    clip, rate = len(result.clips), result.rate
    files.write(result.path(clip, "target"), target, rate, "PCM_24")
    for name in result.lowpasses or ("",):
        if codec:
            narrow = codec.reconstruct(target, rate)
        elif name:
            # every model hears what the same random filter gives
            narrow = LOWPASSES[name](target, rate, heard, np.random.default_rng(clip))
        else:
            narrow = soxr.resample(target, rate, heard)
        files.write(result.path(clip, "input", name), narrow, heard, "PCM_24")


def _row(model: Model, result: Evaluation, run: Run) -> Row:
    names = result.lowpasses or ("",)
    spent = seconds = 0.0
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for i in range(len(result.clips)):
        for name in names:
            again = run(i, name)
            if name == names[0]:
                again()  # compiles; not timed
            began = time.perf_counter()
            output = again()
            spent += time.perf_counter() - began
            seconds += len(output) / model.system.output_rate
            if model.system.output_rate != result.rate:
                output = soxr.resample(output, model.system.output_rate, result.rate)
            files.write(result.path(i, model.name, name), output, result.rate, "PCM_24")
            rows[name].append(_figures(result, i, model.name, name))
    clips = [_means(of_one) for of_one in zip(*rows.values(), strict=True)]
    by_lowpass = {name: _means(rows[name]) for name in result.lowpasses}
    means = _means([row for of_one in rows.values() for row in of_one])
    return Row(model.name, means, clips, by_lowpass, spent / max(seconds, 1e-9))


def _figures(result: Evaluation, clip: int, name: str, lowpass: str) -> dict[str, float]:
    pair = result.waveform(clip, name, lowpass), result.waveform(clip, "target")
    return {f.key: float(f.compute(*pair, result.rate, result.edge_hz)) for f in result.figures}


# clip, low-pass -> a function that computes its output, whatever it needs already at hand
Run = Callable[[int, str], Callable[[], np.ndarray]]


def _from_waveform(model: Model, result: Evaluation, codec: FrozenCodec | None) -> Run:
    extender = BandwidthExtender(model, say=lambda text: None)

    def run(clip: int, lowpass: str) -> Callable[[], np.ndarray]:
        narrow = result.waveform(clip, "input", lowpass)
        return lambda: extender(narrow, model.system.input_rate)

    return run


def _from_truth(model: Model, result: Evaluation) -> Run:
    extender = BandwidthExtender(model, say=lambda text: None)

    def run(clip: int, lowpass: str) -> Callable[[], np.ndarray]:
        target = result.waveform(clip, "target")
        return lambda: extender(target, result.rate)

    return run


def _repeating_parts(models: Sequence[Model]) -> list[Model]:
    """Parts that give back the waveform that they are given, such as vocoders, each once."""
    found: dict[str, Model] = {}
    for model in models:
        for name, part in model.system.parts.items():
            if part.takes == "waveform" and part.input_rate == part.output_rate:
                params = model.params[name]
                same = content_hash(part, params)
                found.setdefault(
                    same, Model(f"{model.name}, {name} on the truth", part, params, {})
                )
    return list(found.values())


def _from_tokens(model: Model, result: Evaluation, codec: FrozenCodec | None) -> Run:
    decoder = TokenDecoder(model)
    codec.check_reader(decoder)

    def run(clip: int, lowpass: str) -> Callable[[], np.ndarray]:
        target = result.waveform(clip, "target")
        tokens = codec.tokens(target, result.rate)
        samples = round(len(target) * model.system.output_rate / result.rate)
        return lambda: zeros_after(decoder.decode(tokens)[:samples], samples)

    return run


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: _mean([row[key] for row in rows]) for key in rows[0]}


def _mean(values: list[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _scores(result: Evaluation) -> dict[str, Any]:
    return {
        "output_rate": result.rate,
        "codec": result.codec,
        "edge_hz": result.edge_hz,
        "formulas": {f.key: f.formula for f in result.figures},
        "clips": result.clips,
        "left_out": dict(result.left_out),
        "models": {row.name: _row_scores(row) for row in result.rows},
    }


def _row_scores(row: Row) -> dict[str, Any]:
    def plain(values: dict[str, float]) -> dict[str, float | None]:
        return {k: v if np.isfinite(v) else None for k, v in values.items()}

    filters = {name: plain(means) for name, means in row.by_lowpass.items()}
    return {
        **plain(row.means),
        "real_time_factor": row.real_time_factor,
        "per_clip": [plain(clip) for clip in row.clips],
        **({"by_lowpass": filters} if filters else {}),
    }
