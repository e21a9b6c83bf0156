"""What a person types, and what a mistake gives: one clear line, status 2, nothing left behind."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from codecbwe_jax import cli
from codecbwe_jax.cli import models
from codecbwe_jax.inference.compilation import enable_cache
from tests.conftest import MICRO, run_cli

TRAIN = ("train", "--config=configs/ap_bwe.py:tiny")


def refused(*arguments: object, says: str) -> None:
    result = run_cli(*arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("codecbwe: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert says in lines[0], lines[0]


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("--config.train.stepz=4", "config.train.stepz: no such field; config.train has batch"),
        ("--config.train.steps=abc", "config.train.steps=abc: expected a value of type int"),
        (
            "--config.train.mapping=vmap",
            "config.train.mapping is 'vmap'; one of pmap, sh",
        ),
        ("--config.data.path=", "config.data.path is empty"),
        ("--config.data.path=/nowhere", "/nowhere: no such file or folder"),
        ("--config.data.path=gs://bucket/x", "gs://bucket/x: mount the bucket and give its folder"),
    ],
)
def test_wrong_config_fields(field: str, says: str, tmp_path: Path, corpus: Path) -> None:
    workdir = tmp_path / "run"
    data = () if field.startswith("--config.data.path") else (f"--config.data.path={corpus}",)
    refused(*TRAIN, f"--workdir={workdir}", *data, field, says=says)
    assert not (workdir / "checkpoints").exists()
    assert not (workdir / "config.json").exists()


def test_a_bucket_is_no_folder_by_that_name(tmp_path: Path) -> None:
    result = run_cli(*TRAIN, "--workdir=gs://bucket/run", cwd=tmp_path)
    assert result.returncode == 2
    assert "argument --workdir: gs://bucket/run: mount the bucket and give its f" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_wrong_config_files(tmp_path: Path) -> None:
    refused("train", "--config=none.py", f"--workdir={tmp_path}/r", says="no such config file")
    variant = "--config=configs/ap_bwe.py:huge"
    refused("train", variant, f"--workdir={tmp_path}/r", says="unknown variant 'huge'")


def bad_audio(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"{name}.wav" for name in ("empty", "text", "nan", "zero", "cut")}
    paths["empty"].touch()
    paths["text"].write_text("this is no audio\n" * 100)
    soundfile.write(paths["nan"], np.array([0.1, np.nan, 0.2]), 16000, "FLOAT")
    soundfile.write(paths["zero"], np.zeros(0), 16000)
    soundfile.write(folder / "whole.flac", np.random.default_rng(0).random(48000) - 0.5, 16000)
    paths["cut"] = folder / "cut.flac"
    data = (folder / "whole.flac").read_bytes()
    paths["cut"].write_bytes(data[: len(data) // 2])
    paths["missing"] = folder / "missing.wav"
    return paths


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "missing.wav: no such file"),
        ("empty", "empty.wav: not an audio file that can be read (it is empty)"),
        ("text", "text.wav: not an audio file"),
        ("nan", "nan.wav: sample 1 is NaN or infinite"),
        ("zero", "zero.wav: no samples in it"),
        ("cut", "cut.flac: broken at or after sample"),
    ],
)
def test_bad_audio(kind: str, says: str, tmp_path: Path) -> None:
    path = bad_audio(tmp_path)[kind]
    output = tmp_path / "out" / "y.wav"
    refused("extend", "--model=sinc", path, f"--output={output}", says=says)
    assert not output.exists()
    assert not output.parent.exists() or list(output.parent.iterdir()) == []


def test_bad_models(tmp_path: Path, trained: Path) -> None:
    wave = tmp_path / "x.wav"
    soundfile.write(wave, np.zeros(800), 16000)
    output = f"--output={tmp_path}/y.wav"
    refused("extend", "--model=nowhere", wave, output, says="nowhere: no such folder")
    (tmp_path / "model").mkdir()
    refused("extend", f"--model={tmp_path}/model", wave, output, says="config.json: no such file")
    (tmp_path / "model" / "config.json").write_text("{")
    refused("extend", f"--model={tmp_path}/model", wave, output, says="not JSON")
    config = json.loads((trained / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    refused("extend", f"--model={tmp_path}/model", wave, output, says="neither checkpoints/ nor")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    refused("extend", f"--model={tmp_path}/model", wave, output, says="not a whole safetensors")
    assert not (tmp_path / "y.wav").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path, corpus: Path) -> None:
    wave, output = next(corpus.rglob("*.flac")), tmp_path / "locked" / "y.wav"
    output.parent.mkdir()
    output.parent.chmod(0o500)
    refused("extend", "--model=sinc", wave, f"--output={output}", says="cannot be written")
    assert list(output.parent.iterdir()) == []


def test_unwritable_outputs(tmp_path: Path, corpus: Path, trained: Path) -> None:
    """A file stands where a folder is needed."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    wave = next(corpus.rglob("*.flac"))
    refused("extend", "--model=sinc", wave, f"--output={blocked}/y.wav", says="cannot be written")
    refused(
        *TRAIN,
        f"--workdir={blocked}/run",
        f"--config.data.path={corpus}",
        *MICRO,
        says="cannot be written",
    )
    refused("export", f"--model={trained}", f"--output={blocked}/e", says="cannot be written")
    assert blocked.read_text() == "in the way"


def test_existing_outputs_are_kept(tmp_path: Path, corpus: Path, trained: Path) -> None:
    for command in (
        ("export", f"--model={trained}", f"--output={tmp_path}"),
        ("evaluate", "--model=sinc", f"--data={corpus}", f"--report={tmp_path}"),
        ("convert", "--config=configs/ap_bwe.py", "--weights=x.pt", f"--output={tmp_path}"),
    ):
        refused(*command, says="exists; give --overwrite to replace it")


def test_models_without_an_export(tmp_path: Path) -> None:
    refused("export", "--model=sinc", f"--output={tmp_path}/e", says="no PyTorch export")
    refused("export", "--model=nowhere", f"--output={tmp_path}/e", says="no such folder")


def test_a_name_that_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"gr\xc3\xbc\xff.wav")
    soundfile.write(os.fsencode(path), np.zeros(800), 16000)
    command = [sys.executable, "-m", "codecbwe_jax", "extend", "--model=sinc", path]
    result = subprocess.run(
        [*command, f"--output={tmp_path}/out"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path}/gr\\xfc\\udcff.wav -> {tmp_path}/out/gr\\xfc\\udcff.wav\n"
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"gr\xc3\xbc\xff.wav"]


def process(*arguments: object, **settings: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "codecbwe_jax", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def test_a_command_that_is_ended_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    hour = np.tile(np.float32([0, 0.1, 0, -0.1]), 16000 * 900)
    soundfile.write(tmp_path / "hour.wav", hour, 16000)
    running = process("extend", "--model=sinc", tmp_path / "hour.wav", f"--output={tmp_path}/out")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("out/.*")):
        time.sleep(0.01)
    running.terminate()
    running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert list((tmp_path / "out").iterdir()) == []


def test_what_nobody_foresaw_is_one_line_with_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(args: argparse.Namespace) -> None:
        raise KeyError("of\nours")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(models, "systems", fails)
    assert cli.main(["systems"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (written,) = tmp_path.iterdir()
    assert line.startswith("codecbwe: KeyError: 'of\\nours' (a fault of codecbwe's;")
    assert line.endswith(f"is in {written})")
    assert "raise KeyError" in written.read_text()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(800), 16000)
    kept = ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in kept}
    running = process(
        *("extend", "--model=sinc", tmp_path / "x.wav", f"--output={tmp_path}/y.wav"),
        env={**environment, "HOME": "/dev/null"},
    )
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    told = [line for line in errors.splitlines() if "compiled programs are not kept (" in line]
    assert len(told) == 1
    assert "Traceback" not in errors


def test_a_user_whom_nobody_knows_has_no_cache(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        enable_cache()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("compiled programs are not kept (")


def test_references_that_lack_the_band_are_left_out(tmp_path: Path, corpus: Path) -> None:
    t = np.arange(48000) / 48000
    soundfile.write(tmp_path / "narrow.wav", 0.3 * np.sin(2 * np.pi * 3000 * t), 48000)
    command = ("evaluate", "--model=band_replication", f"--data={tmp_path}")
    refused(
        *command,
        f"--report={tmp_path}/none",
        says=f"{tmp_path}: no recording to compare with; left out 1 (real bandwidth ",
    )
    assert not (tmp_path / "none").exists()
    (tmp_path / "wide.flac").write_bytes(next(corpus.rglob("*.flac")).read_bytes())
    result = run_cli(*command, f"--report={tmp_path}/report")
    assert result.returncode == 0, result.stderr
    assert f"left out {tmp_path}/narrow.wav: real bandwidth" in result.stdout
    scores = json.loads((tmp_path / "report" / "scores.json").read_text())
    assert scores["clips"] == ["wide.flac"]


def test_unknown_arguments() -> None:
    result = run_cli("systems", "--verbose")
    assert result.returncode == 2
    assert "unknown arguments: --verbose" in result.stderr


def test_systems_lists_every_system() -> None:
    result = run_cli("systems")
    assert result.returncode == 0
    assert "29,760,515" in result.stdout
    for name in ("ap_bwe", "sinc", "band_replication"):
        assert name in result.stdout


def test_doctor_says_what_would_be_used(tmp_path: Path, corpus: Path) -> None:
    for path in list(corpus.rglob("*.flac"))[:2]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    t = np.arange(48000) / 48000
    soundfile.write(tmp_path / "narrow.wav", 0.3 * np.sin(2 * np.pi * 3000 * t), 48000)
    (tmp_path / "text.wav").write_text("no audio")
    result = run_cli("doctor", tmp_path)
    assert result.returncode == 0, result.stderr
    lines = {
        line.split("  ")[-2].split("/")[-1]: line
        for line in result.stdout.splitlines()
        if "(" in line and ".wav" in line
    }
    assert "real bandwidth" in lines["narrow.wav"]
    assert "not an audio file" in lines["text.wav"]


def test_commands_work_from_any_directory(tmp_path: Path, trained: Path, corpus: Path) -> None:
    wave = next(corpus.rglob("*.flac"))
    result = run_cli("extend", f"--model={trained}", wave, "--output=y.wav", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    wide = soundfile.info(tmp_path / "y.wav")
    assert wide.frames == soundfile.info(wave).frames * 32000 // 48000
    assert wide.samplerate == 32000
    report = run_cli(
        "evaluate",
        f"--model={trained}",
        "--model=sinc",
        f"--data={corpus}",
        "--report=r",
        "--clips=2",
        cwd=tmp_path,
    )
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "r" / "report.html").is_file()
    assert "NU-Wave 2's LSD-HF" in report.stdout
