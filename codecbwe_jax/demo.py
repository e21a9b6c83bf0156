"""The whole story in minutes: a codec, bandwidth extension of what it decodes, export, report."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config
from codecbwe_jax.data import synthetic
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation.evaluate import Evaluation, evaluate
from codecbwe_jax.evaluation.report import text_table, write_report
from codecbwe_jax.inference.batch import extend_file
from codecbwe_jax.inference.compilation import enable_cache
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.inference.tokens import decode_files, encode_files
from codecbwe_jax.interop.export import export_torch
from codecbwe_jax.systems.facts import facts
from codecbwe_jax.training.cache import write_cache
from codecbwe_jax.training.data import find_recordings
from codecbwe_jax.training.interruption import Interrupted
from codecbwe_jax.training.loop import train
from codecbwe_jax.training.run import Run

CODEC_CONFIG = "configs/codec_tiny.py:quick"
CONFIG = "configs/ap_bwe.py:tiny_codec"
CLIPS = 12


def run(data: Path | None, output: Path, steps: int | None = None) -> Evaluation:
    """Run the demo.

    Args:
      data: folder of full-band recordings; None synthesises speech-like audio.
      output: gets `data/` (synthetic), `codec/`, `cache/`, `train/`, `export/`, `clips/`,
        `scores.json`, `report.html`, and one recording as `speech.tokens`, as the codec decodes
        it (`decoded.wav`) and extended (`extended.wav`). Run again, it continues where it was.
      steps: of both trainings; None takes the configs'.

    Raises:
      UserError: on bad data, or if the trained model does not beat both baselines above the edge.
    """
    began = time.monotonic()
    enable_cache()
    source = data or output / "data"
    if data is None:
        _say(1, f"synthesising voices into {source}")
        synthetic.write_corpus(source)

    _say(2, f"training a small codec ({CODEC_CONFIG}); Ctrl-C saves")
    codec_config = _load(CODEC_CONFIG, source, steps)
    codec_scores = _train(codec_config, output / "codec")

    _say(3, f"running it over the recordings, into {output / 'cache'}")
    config = _load(CONFIG, source, steps)
    config.data.codec, config.data.cache = str(output / "codec"), str(output / "cache")
    write_cache(config, output / "cache")

    _say(4, f"training AP-BWE ({CONFIG}) on what the codec decodes; Ctrl-C saves")
    _train(config, output / "train")

    _say(5, "evaluating on clips of speakers that neither has heard")
    codec = FrozenCodec.load(output / "codec")
    model = dataclasses.replace(load_model(output / "train"), name=config.system.name)
    _, held_out = find_recordings(config, model.system.output_rate, output / "train")
    models = [load_model("sinc"), load_model("band_replication"), model]
    chosen = held_out[:: -(-len(held_out) // CLIPS)]
    result = evaluate(models, chosen, output, max_seconds=4.0, codec=codec)
    print(text_table(result), flush=True)

    _say(6, "one recording as tokens, decoded, and extended")
    tokens, decoded = output / "speech.tokens", output / "decoded.wav"
    encode_files(codec, [result.path(0, "target")], tokens, existing="replace")
    decode_files(codec, [tokens], decoded, existing="replace")
    extend_file(BandwidthExtender(model), decoded, output / "extended.wav")

    _say(7, f"exporting to PyTorch in {output / 'export'} and checking it against JAX")
    differences = export_torch(model, output / "export")

    notes = _notes(codec_config, codec_scores, config, model.system, max(differences.all.values()))
    write_report(result, output / "report.html", "A codec's tokens to 48 kHz", notes)
    print(f"\nreport: {output / 'report.html'}   ({time.monotonic() - began:.0f} s)", flush=True)
    _check_against_baselines(result)
    return result


def _say(number: int, text: str) -> None:
    print(f"\n[{number}/7] {text}", flush=True)


def _load(path: str, source: Path, steps: int | None) -> ConfigDict:
    overrides = [f"--config.data.path={source}"]
    overrides += [f"--config.train.steps={steps}"] if steps else []
    return load_config(path, overrides)


def _train(config: ConfigDict, workdir: Path) -> dict[str, float]:
    try:
        return train(Run.of(config), workdir)
    except Interrupted:
        raise UserError(f"interrupted; run the demo again to go on ({workdir})") from None


def _notes(
    codec_config: ConfigDict,
    codec_scores: dict[str, float],
    config: ConfigDict,
    system: object,
    difference: float,
) -> list[str]:
    f = facts(system)
    return [
        f"Tokens of a small codec (X-Codec 2.0's architecture, {codec_config.train.steps} steps), "
        f"its decoded 16 kHz audio, and a small AP-BWE ({f.parameters / 1e6:.2f} M parameters, "
        f"{config.train.steps} steps) to {system.output_rate // 1000} kHz; both were trained on "
        f"{config.data.path}. The clips are of speakers that neither has heard; every figure is "
        "computed from the files you can play below.",
        f"The codec alone, below 8 kHz: LSD {codec_scores['valid/lsd']:.2f}, SI-SDR "
        f"{codec_scores['valid/si_sdr']:.1f} dB. What it loses, no extension brings back.",
        "The PyTorch export in export/ differs from JAX by "
        f"{20 * math.log10(difference):.0f} dB on synthetic voices, resampling included.",
    ]


def _check_against_baselines(result: Evaluation) -> None:
    *baselines, trained = result.rows
    for row in baselines:
        if not trained.means["lsd_high"] < row.means["lsd_high"]:
            raise UserError(
                f"the trained model (LSD above the edge {trained.means['lsd_high']:.3f}) does not "
                f"beat {row.name} ({row.means['lsd_high']:.3f}): train longer with --steps"
            )
