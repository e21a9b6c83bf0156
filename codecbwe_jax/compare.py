"""Train many systems for the same number of steps on the same data, and report them together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import read_json, write_json, write_text
from codecbwe_jax.errors import MistakesError, UserError
from codecbwe_jax.evaluation.columns import COMPARED
from codecbwe_jax.evaluation.evaluate import Evaluation, Row, evaluate, heard_rate
from codecbwe_jax.evaluation.listening import write_listening_page
from codecbwe_jax.evaluation.report import text_table, write_report
from codecbwe_jax.evaluation.speed import one_thread_factors
from codecbwe_jax.inference.compilation import enable_cache
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import BASELINES, load_model
from codecbwe_jax.systems.facts import facts
from codecbwe_jax.training import codec_input, settings
from codecbwe_jax.training.data import find_recordings
from codecbwe_jax.training.loop import train
from codecbwe_jax.training.run import Run

CLIPS = 12


def compare(
    configs: Sequence[str],
    steps: int,
    data: Path,
    report: Path,
    overrides: Sequence[str] = (),
    blind: bool = False,
) -> Evaluation:
    """Train and score.

    Args:
      configs: "FILE.py:variant" each, or "NAME=FILE.py:variant --config.a=b ..." with overrides of
        its own.
      steps: of every training.
      data: folder of recordings.
      report: gets `runs/<name>/` (a killed comparison goes on), `report.html`, `listening.html`,
        `scores.json` and `table.md`.
      overrides: "--config.a.b=value" for all; the codec is `config.data.codec`.
      blind: see `evaluation.listening`.

    Raises:
      UserError: if two runs have one name, or they cannot stand in one table, before anything is
        trained; else see `training.loop.train`.
    """
    enable_cache()
    parsed = [_parsed(text, steps, data, overrides) for text in configs]
    names = [name for name, _ in parsed]
    if len(set(names)) != len(names):
        raise UserError(f"names of runs stand twice in {', '.join(names)}; give NAME=CONFIG")
    codec = _one_codec([config for _, config in parsed])
    runs = _checked_together(parsed, codec)
    models: list[Model] = []
    speeds: dict[str, float] = {}
    for name, run in zip(names, runs, strict=True):
        print(f"{name}: {run.config.system.name}, {steps} steps", flush=True)
        speeds[name] = _trained(run, report / "runs" / name)
        models.append(run.starting_model(f"{name}, step 0"))
        trained = load_model(report / "runs" / name)
        models.append(dataclasses.replace(trained, name=name))
    _, held_out = find_recordings(runs[0].config, _highest(models), report / "runs" / names[0])
    clips = held_out[:: max(1, math.ceil(len(held_out) / CLIPS))]
    baselines = [load_model(name) for name in BASELINES]
    result = evaluate([*models, *baselines], clips, report, codec=codec, figures=COMPARED)
    measured = one_thread_factors([report / "runs" / name for name in names])
    factors = dict(zip(names, measured, strict=True))
    result.rows[:] = [_with_facts(row, models, speeds, factors) for row in result.rows]
    notes = [f"{steps} steps each on {data}."]
    write_report(result, report / "report.html", "Comparison", notes)
    write_listening_page(_trained_only(result), blind)
    write_text(report / "table.md", markdown_table(result))
    print(text_table(result))
    return result


def _parsed(text: str, steps: int, data: Path, overrides: Sequence[str]) -> tuple[str, ConfigDict]:
    head, *own = text.split()
    name, equals, argument = head.partition("=")
    argument = argument if equals else head
    path, _, variant = argument.partition(":")
    name = name if equals else Path(path).stem + (f"_{variant}" if variant else "")
    shared = [f"--config.data.path={data}", f"--config.train.steps={steps}"]
    return name, settings.load_run(argument, [*overrides, *own, *shared])


def _one_codec(configs: Sequence[ConfigDict]) -> FrozenCodec | None:
    """The codec that all runs name, whatever each computes it in; None if none does."""
    folders = {config.data.get("codec", "") for config in configs}
    codecs = {folder and Path(folder).resolve() for folder in folders}
    if len(codecs) > 1:
        named = ", ".join(folder or "none" for folder in sorted(folders))
        raise UserError(f"one table has one codec, these runs name {named}: give --codec=FOLDER")
    folder = min(folders)
    return FrozenCodec.load(folder) if folder else None


def _checked_together(
    parsed: Sequence[tuple[str, ConfigDict]], codec: FrozenCodec | None
) -> list[Run]:
    """The runs; what could not be trained, or scored after it, is refused before the first."""
    runs = []
    for name, config in parsed:
        try:
            runs.append(_checked(config, codec))
        except MistakesError as error:
            raise MistakesError([f"{name}: {mistake}" for mistake in error.mistakes]) from None
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    heard_rate([run.system for run in runs], codec.system if codec else None)
    data = Path(runs[0].config.data.path)
    if not data.exists():
        raise UserError(f"{data}: no such folder of recordings")
    return runs


def _checked(config: ConfigDict, codec: FrozenCodec | None) -> Run:
    """The run of a config; UserError if it cannot be trained."""
    run = Run.of(config)
    if codec_input.wants_codec(config, run.system):
        if not codec:
            raise UserError("it is trained on a codec: give --codec=FOLDER")
        codec_input.check_follows(run.system, codec.system)
    return run


def _trained(run: Run, workdir: Path) -> float:
    """Train, or take what is there; steps a second."""
    figures = train(run, workdir)
    rate, stored = figures["steps_per_second"], workdir / "speed.json"
    if math.isfinite(rate):
        write_json(stored, {"steps_per_second": rate})
    return read_json(stored)["steps_per_second"] if stored.exists() else math.nan


def _highest(models: Sequence[Model]) -> int:
    return max(model.system.output_rate for model in models)


def _with_facts(
    row: Row, models: Sequence[Model], speeds: dict[str, float], factors: dict[str, float]
) -> Row:
    if row.name not in speeds:
        return row
    system = next(model.system for model in models if model.name == row.name)
    known = facts(system)
    return dataclasses.replace(
        row,
        facts={
            "Rate (kHz)": f"{system.output_rate / 1000:g}",
            "Parameters (M)": f"{known.parameters / 1e6:.2f}",
            "GMAC/s": f"{known.macs_per_second / 1e9:.3f}",
            "Real-time factor, 1 thread": f"{factors[row.name]:.4f}",
            "ms per step": f"{1000 / speeds[row.name]:.0f}",
        },
    )


def _trained_only(result: Evaluation) -> Evaluation:
    rows = [r for r in result.rows if not (r.ceiling or r.name.endswith(", step 0"))]
    return dataclasses.replace(result, rows=rows)


def markdown_table(result: Evaluation) -> str:
    """The table as Markdown."""
    headings = list(dict.fromkeys(h for row in result.rows for h in row.facts))
    columns = ["", *(f.title for f in result.figures), *headings]
    lines = [_line(columns), _line(["---", *["---:"] * (len(columns) - 1)])]
    for row in result.rows:
        figures = [f"{row.means[f.key]:.2f}" for f in result.figures]
        lines.append(_line([row.name, *figures, *(row.facts.get(h, "") for h in headings)]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
