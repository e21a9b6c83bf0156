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
from codecbwe_jax.data.pipeline import read_segment
from codecbwe_jax.data.recordings import Recording
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation import metrics
from codecbwe_jax.evaluation.visqol import visqol_audio
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.token_decoder import TokenDecoder
from codecbwe_jax.inference.windows import zeros_after


@dataclasses.dataclass(frozen=True)
class Figure:
    """A column of a report.

    Attributes:
      key: its name in scores.json.
      title: its heading.
      formula: what exactly is computed.
      compute: of (estimate, target, rate in Hz, input's band edge in Hz).
    """

    key: str
    title: str
    formula: str
    compute: Callable[[np.ndarray, np.ndarray, int, float], float]


_LSD = "log10 power, STFT 2048/512 Hann, clamp 1e-8, mean over frames of RMS over bins"
FIGURES = (
    Figure("lsd", "LSD", f"AP-BWE's: {_LSD}", lambda s, t, r, c: metrics.lsd(s, t)),
    Figure("lsd_low", "LSD below the edge", "NU-Wave 2's LSD-LF", metrics.lsd_low),
    Figure("lsd_high", "LSD above the edge", "NU-Wave 2's LSD-HF", metrics.lsd_high),
    Figure(
        "snr", "SNR (dB)", "AP-BWE's: 20 log10 |t| / |s - t|", lambda s, t, r, c: metrics.snr(s, t)
    ),
    Figure(
        "sharpness",
        "Sharpness above the edge",
        "spread of log power about its local mean in frequency, over the target's; 1 is right, "
        "less is smoothed",
        metrics.sharpness,
    ),
    Figure(
        "rumble",
        "Level below 40 Hz (dB)",
        "level from 0 to 40 Hz above the target's",
        lambda s, t, r, c: metrics.band_level_db(s, r, 0, 40) - metrics.band_level_db(t, r, 0, 40),
    ),
    Figure(
        "step",
        "Step at the edge (dB)",
        "level change across the edge (400 Hz on each side) beyond the target's own",
        metrics.crossover_step_db,
    ),
)
# Beside the others where systems are compared with each other.
COMPARED = (
    *(figure for figure in FIGURES if figure.key in ("lsd", "lsd_low", "lsd_high")),
    Figure(
        "lsd_octave",
        "LSD in the octave above the edge",
        "LSD over the bins from the edge to 15/8 of it",
        metrics.lsd_octave,
    ),
    Figure(
        "mr_stft",
        "Multi-resolution STFT",
        "mean |ln difference| of magnitudes over FFTs of 2048, 1024, 512, 256, hops a quarter",
        lambda s, t, r, c: metrics.log_magnitude_distance(s, t),
    ),
    *(figure for figure in FIGURES if figure.key in ("snr", "sharpness", "step")),
)
# Of a system that extends nothing, such as a codec.
RECONSTRUCTION = (
    *(figure for figure in FIGURES if figure.key in ("lsd", "snr", "rumble")),
    Figure(
        "si_sdr",
        "SI-SDR (dB)",
        "scale-invariant signal-to-distortion ratio",
        lambda s, t, r, c: metrics.si_sdr(s, t),
    ),
)
VISQOL = Figure(
    "visqol",
    "ViSQOL",
    "visqol-python, audio mode at 48 kHz (MOS-LQO, 4.73 is identity)",
    lambda s, t, r, c: visqol_audio(s, t, r),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A model's figures: means over clips, those of each clip, the real-time factor (seconds of
    computing per second of output), and what else is known of it, heading to text."""

    name: str
    means: dict[str, float]
    clips: list[dict[str, float]]
    real_time_factor: float
    facts: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation made.

    Attributes:
      folder: holds `clips/NN_<name>.flac` and `scores.json`.
      rate: of the outputs in Hz.
      edge_hz: upper end of the input's band.
      figures: the columns.
      rows: one for each model.
      clips: names of the clips.
      codec: content hash of the codec whose output was extended, if there was one.
    """

    folder: Path
    rate: int
    edge_hz: float
    figures: tuple[Figure, ...]
    rows: list[Row]
    clips: list[str]
    codec: str | None = None

    def waveform(self, clip: int, name: str) -> np.ndarray:
        """Samples of a written file: `name` is "input", "target" or a model's."""
        return files.read(self.path(clip, name))[0][:, 0]

    def path(self, clip: int, name: str) -> Path:
        return _clip_path(self.folder, clip, name)


def _clip_path(folder: Path, clip: int, name: str) -> Path:
    return folder / "clips" / f"{clip:02d}_{re.sub(r'[^A-Za-z0-9]+', '_', name)}.flac"


def evaluate(
    models: Sequence[Model],
    recordings: Sequence[Recording],
    folder: Path,
    max_seconds: float = 10.0,
    visqol: bool = False,
    say: Callable[[str], None] = print,
    codec: FrozenCodec | None = None,
    figures: tuple[Figure, ...] | None = None,
) -> Evaluation:
    """Give every model what it would hear of recordings, write everything, score the files.

    Args:
      models: of the same input rate; outputs are brought to the highest of the output rates.
      recordings: true wide-band recordings; the first `max_seconds` of each count.
      folder: gets the clips and `scores.json`.
      max_seconds: longest clip.
      visqol: also compute ViSQOL (needs the "visqol" extra).
      say: gets progress, line by line.
      codec: what the models hear is its reconstruction; None: the recording at their rate.
      figures: columns; None takes `FIGURES`, or `RECONSTRUCTION` if nothing is extended.

    Raises:
      UserError: if the input rates differ or nothing can be written.
    """
    input_rates = sorted({m.system.input_rate for m in models})
    if len(input_rates) != 1:
        raise UserError(f"models of input rates {input_rates} cannot stand in one table")
    input_rate, rate = input_rates[0], max(m.system.output_rate for m in models)
    if codec and codec.system.output_rate != input_rate:
        raise UserError(
            f"the codec decodes to {codec.system.output_rate} Hz, the models take {input_rate} Hz"
        )
    if codec is None and any(m.system.takes == "tokens" for m in models):
        raise UserError("native decoders need the codec that makes their tokens: --codec=FOLDER")
    figures = figures or (FIGURES if input_rate < rate else RECONSTRUCTION)
    figures = (*figures, VISQOL) if visqol else figures
    clips = []
    for i, recording in enumerate(recordings):
        samples = int(min(recording.seconds, max_seconds) * rate)
        target = read_segment(recording, rate, samples, 0.0)
        files.write(_clip_path(folder, i, "target"), target, rate, "PCM_24")
        if codec:
            narrow = codec.reconstruct(target, rate)
        else:
            narrow = soxr.resample(target, rate, input_rate)
        files.write(_clip_path(folder, i, "input"), narrow, input_rate, "PCM_24")
        clips.append(recording.name)
    codec_name = codec.content_hash if codec else None
    result = Evaluation(folder, rate, input_rate / 2, figures, [], clips, codec_name)
    for model in models:
        say(f"{model.name}: extending {len(clips)} clips")
        result.rows.append(_row(model, result, codec))
    write_json(folder / "scores.json", _scores(result))
    return result


def _row(model: Model, result: Evaluation, codec: FrozenCodec | None) -> Row:
    run_on = _from_tokens if model.system.takes == "tokens" else _from_waveform
    run = run_on(model, result, codec)
    spent = seconds = 0.0
    rows = []
    for i in range(len(result.clips)):
        again = run(i)
        again()  # compiles; not timed
        began = time.perf_counter()
        output = again()
        spent += time.perf_counter() - began
        seconds += len(output) / model.system.output_rate
        if model.system.output_rate != result.rate:
            output = soxr.resample(output, model.system.output_rate, result.rate)
        files.write(result.path(i, model.name), output, result.rate, "PCM_24")
        pair = result.waveform(i, model.name), result.waveform(i, "target")
        rows.append(
            {f.key: float(f.compute(*pair, result.rate, result.edge_hz)) for f in result.figures}
        )
    means = {f.key: _mean([row[f.key] for row in rows]) for f in result.figures}
    return Row(model.name, means, rows, spent / max(seconds, 1e-9))


# clip -> a function that computes its output, whatever it needs already at hand
Run = Callable[[int], Callable[[], np.ndarray]]


def _from_waveform(model: Model, result: Evaluation, codec: FrozenCodec | None) -> Run:
    extender = BandwidthExtender(model, say=lambda text: None)

    def run(clip: int) -> Callable[[], np.ndarray]:
        narrow = result.waveform(clip, "input")
        return lambda: extender(narrow, model.system.input_rate)

    return run


def _from_tokens(model: Model, result: Evaluation, codec: FrozenCodec | None) -> Run:
    decoder = TokenDecoder(model)
    codec.check_reader(decoder)

    def run(clip: int) -> Callable[[], np.ndarray]:
        target = result.waveform(clip, "target")
        tokens = codec.tokens(target, result.rate)
        samples = round(len(target) * model.system.output_rate / result.rate)
        return lambda: zeros_after(decoder.decode(tokens)[:samples], samples)

    return run


def _mean(values: list[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _scores(result: Evaluation) -> dict[str, Any]:
    def plain(values: dict[str, float]) -> dict[str, float | None]:
        return {k: v if np.isfinite(v) else None for k, v in values.items()}

    return {
        "output_rate": result.rate,
        "codec": result.codec,
        "edge_hz": result.edge_hz,
        "formulas": {f.key: f.formula for f in result.figures},
        "clips": result.clips,
        "models": {
            row.name: {
                **plain(row.means),
                "real_time_factor": row.real_time_factor,
                "per_clip": [plain(clip) for clip in row.clips],
            }
            for row in result.rows
        },
    }
