"""`codecbwe compare`: trained alike, one table, one page to listen to; done again, it goes on."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import soundfile

from codecbwe_jax.compare import compare
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop.checkpoints import write_folder
from tests.conftest import MICRO_CODEC, random_codec, run_cli


def test_two_systems_at_two_rates(corpus: Path, codec_folder: Path, tmp_path: Path) -> None:
    sizes = [f"--config.system.backbone.{k}={v}" for k, v in MICRO_CODEC["backbone"].items()]
    report = tmp_path / "report"
    command = (
        "compare",
        "--configs",
        "high=configs/native_istft.py:tiny_48k --config.system.head_init=scratch",
        "configs/native_multiband.py:tiny_2x12",
        f"--codec={codec_folder}",
        "--steps=3",
        f"--data={corpus}",
        f"--report={report}",
        "--blind",
        *sizes,
        "--config.system.features=96",
        "--config.data.chunk_seconds=0.5",
        "--config.data.segment_samples=4800",
        "--config.train.batch_size=2",
        "--config.train.log_every=1",
        "--config.evaluators.valid.clips=1",
        "--config.evaluators.valid.seconds=0.5",
    )
    result = run_cli(*command)
    assert result.returncode == 0, result.stderr
    scores = json.loads((report / "scores.json").read_text())
    names = ["high", "native_multiband_tiny_2x12"]
    wanted = {*names, *(f"{n}, step 0" for n in names), "sinc", "band_replication"}
    assert set(scores["models"]) == wanted
    assert scores["output_rate"] == 48000
    trained, fresh = (scores["models"][n]["lsd"] for n in ("high", "high, step 0"))
    assert trained != fresh
    table = (report / "table.md").read_text()
    assert re.search(r"\| high \|.*\| 48 \|", table)
    assert re.search(r"\| native_multiband_tiny_2x12 \|.*\| 24 \|", table)

    page = (report / "listening.html").read_text()
    key = json.loads((report / "listening_key.json").read_text())
    assert "high" not in page
    assert all(
        set(k.values()) == {*names, "sinc", "band_replication", "target"} for k in key.values()
    )
    levels = set()
    for path in sorted((report / "listening").glob("00_*.flac")):
        wave, _ = soundfile.read(path)
        levels.add(round(float((wave**2).mean() ** 0.5), 3))
    assert max(levels) - min(levels) < 0.01  # all at one level

    again = run_cli(*command)
    assert again.returncode == 0, again.stderr
    assert "continuing at step 3" in again.stdout
    assert json.loads((report / "scores.json").read_text())["models"].keys() == wanted


def test_what_cannot_stand_together_is_refused_before_anything_is_trained(
    corpus: Path, tmp_path: Path
) -> None:
    codec, params = random_codec("neucodec")
    settings = {"name": "codec", **dataclasses.asdict(codec)}
    write_folder(Model("micro", codec, params, {}), settings, tmp_path / "codec")
    configs = ["configs/native_istft.py:tiny_48k", "configs/high_band.py:tiny_codec"]
    sizes = [f"--config.system.backbone.{k}={v}" for k, v in MICRO_CODEC["backbone"].items()]
    configs[0] = " ".join([configs[0], *sizes, "--config.system.features=96"])
    overrides = [f"--config.data.codec={tmp_path / 'codec'}"]
    with pytest.raises(UserError, match=r"high_band_tiny_codec: .* decodes to 24000 Hz"):
        compare(configs, 1, corpus, tmp_path / "report", overrides)
    assert not (tmp_path / "report").exists()
