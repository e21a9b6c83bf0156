"""The whole story in minutes: data, training, evaluation, export, report."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from codecbwe_jax.config import load_config
from codecbwe_jax.data import synthetic
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation.evaluate import Evaluation, evaluate
from codecbwe_jax.evaluation.report import text_table, write_report
from codecbwe_jax.inference.batch import extend_file
from codecbwe_jax.inference.compilation import enable_cache
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import load_model
from codecbwe_jax.interop.export import Agreement, export_torch
from codecbwe_jax.systems.facts import facts
from codecbwe_jax.training.loop import Interrupted, find_recordings, train

CONFIG = "configs/ap_bwe.py:tiny"
CLIPS = 12


def run(data: Path | None, output: Path, steps: int | None = None) -> Evaluation:
    """Run the demo.

    Args:
      data: folder of full-band recordings; None synthesises speech-like audio.
      output: gets `data/` (synthetic), `train/`, `export/`, `clips/`, `scores.json`,
        `extended.wav` and `report.html`. Run again, it continues where it was.
      steps: training steps; None takes the config's.

    Raises:
      UserError: on bad data, or if the trained model does not beat both baselines above the edge.
    """
    began = time.monotonic()
    enable_cache()
    source = data or output / "data"
    if data is None:
        _say(1, f"synthesising voices into {source}")
        synthetic.write_corpus(source)
    overrides = [f"--config.data.path={source}"]
    overrides += [f"--config.train.steps={steps}"] if steps else []
    config = load_config(CONFIG, overrides)
    workdir = output / "train"

    _say(2, f"training AP-BWE ({CONFIG}), {config.train.steps} steps; Ctrl-C saves")
    try:
        train(config, workdir)
    except Interrupted:
        raise UserError(f"interrupted; run the demo again to go on ({workdir})") from None

    _say(3, "evaluating on clips of speakers it has not heard")
    model = dataclasses.replace(load_model(workdir), name=config.system.name)
    _, held_out = find_recordings(config, model.system.output_rate, workdir)
    models = [load_model("sinc"), load_model("band_replication"), model]
    chosen = held_out[:: -(-len(held_out) // CLIPS)]
    result = evaluate(models, chosen, output, max_seconds=4.0)
    print(text_table(result), flush=True)

    _say(4, f"extending one recording to {output / 'extended.wav'}")
    extend_file(BandwidthExtender(model), result.path(0, "input"), output / "extended.wav")

    _say(5, f"exporting to PyTorch in {output / 'export'} and checking it against JAX")
    agreement = export_torch(model, output / "export")

    title = f"{model.system.input_rate // 1000} to {model.system.output_rate // 1000} kHz: AP-BWE"
    notes = _notes(config.train.steps, str(data or "synthetic voices"), agreement, model.system)
    write_report(result, output / "report.html", title, notes)
    print(f"\nreport: {output / 'report.html'}   ({time.monotonic() - began:.0f} s)", flush=True)
    _check_against_baselines(result)
    return result


def _say(number: int, text: str) -> None:
    print(f"\n[{number}/5] {text}", flush=True)


def _notes(steps: int, source: str, agreement: Agreement, system: object) -> list[str]:
    f = facts(system)
    return [
        f"A small AP-BWE ({f.parameters / 1e6:.2f} M parameters) after {steps} steps on {source}. "
        "The clips are of speakers that it was not trained on; every figure is computed from the "
        "files you can play below.",
        f"The PyTorch export in export/ agrees with JAX to {agreement.worst:.0e} of the peak.",
    ]


def _check_against_baselines(result: Evaluation) -> None:
    *baselines, trained = result.rows
    for row in baselines:
        if not trained.means["lsd_high"] < row.means["lsd_high"]:
            raise UserError(
                f"the trained model (LSD above the edge {trained.means['lsd_high']:.3f}) does not "
                f"beat {row.name} ({row.means['lsd_high']:.3f}): train longer with --steps"
            )
