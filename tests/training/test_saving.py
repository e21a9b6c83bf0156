"""Saves that cannot be made, or were cut off: a full disk, a killed process."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from codecbwe_jax.audio import files
from codecbwe_jax.errors import UserError
from codecbwe_jax.weights.checkpoints import Checkpoints, load_groups
from tests.training.test_hosts import STEPS, command, rows, start

pytestmark = pytest.mark.xdist_group("hosts")

STATE = {"w": np.arange(300_000, dtype=np.float32)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of six megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here (it takes root and the right to mount)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """A file that takes all room but so many bytes."""
    path = folder / "filler"
    with path.open("wb") as file:
        free = os.statvfs(folder)
        file.write(bytes(max(free.f_bavail * free.f_bsize - leave, 0)))
    return path


@pytest.mark.parametrize("leave", [0, 500_000])
def test_a_failed_save_leaves_nothing_and_the_next_one_works(small_disk: Path, leave: int) -> None:
    """Without room for a folder, and without room for the tensors."""
    store = Checkpoints(small_disk / "checkpoints")
    store.save(1, STATE, {"x": 1}, {})
    filler = fill(small_disk, leave)
    with pytest.raises(UserError, match="checkpoint 2 cannot be written: No space left"):
        store.save(2, STATE, {"x": 2}, {})
    assert [p.name for p in (small_disk / "checkpoints").iterdir()] == ["1"]
    filler.unlink()
    store.save(3, STATE, {"x": 3}, {})
    assert store.latest() == 3
    np.testing.assert_array_equal(store.restore(3, STATE)["w"], STATE["w"])


def test_a_full_disk_leaves_no_audio_under_its_name(small_disk: Path) -> None:
    """Whatever room is left: what has its name is whole."""
    waveform = (0.3 * np.random.default_rng(0).standard_normal(30_000)).astype(np.float32)
    whole = 0
    for leave in range(0, 80_000, 4096):
        filler = fill(small_disk, leave)
        path = small_disk / f"{leave}.flac"
        told = None
        try:
            files.write(path, waveform, 16000)
        except UserError as error:
            told = str(error)
        if told:
            assert told.startswith(f"{path}: cannot be written")
            assert not path.exists()
        else:
            whole += 1
            assert len(files.read(path)[0]) == len(waveform)
            path.unlink()
        filler.unlink()
    assert 0 < whole < 20


def test_training_goes_on_while_the_disk_is_full(small_disk: Path, corpus: Path) -> None:
    """It tells of what it cannot write, and saves when it can."""
    workdir = small_disk / "run"
    more = (
        "--config.train.steps=100000",
        "--config.checkpoint.every=20",
        "--config.checkpoint.max_failed=1000",
        "--config.evaluators.valid.every=100000",
    )
    (process,) = start(command(workdir, corpus, *more), devices=1)
    lines = iter(process.stdout.readline, "")
    next(line for line in lines if "step 41/" in line)
    filler = fill(small_disk, 0)
    told = [next(line for line in lines if "cannot be written" in line) for _ in range(3)]
    assert any("No space left on device; training goes on (" in line for line in told), told
    filler.unlink()
    deadline = time.monotonic() + 120
    newest = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    while time.monotonic() < deadline:
        steps = [int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()]
        if max(steps) > newest:
            break
        next(lines)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + signal.SIGTERM, output
    state, facts = load_groups(workdir / "checkpoints")
    assert state["step"] == facts["batches_consumed"] > newest
    assert rows(workdir)[-1]["step"] == state["step"]


def test_a_run_gives_up_after_so_many_failed_saves(small_disk: Path, corpus: Path) -> None:
    workdir = small_disk / "run"
    more = (
        "--config.checkpoint.every=1",
        "--config.checkpoint.max_failed=2",
    )
    (process,) = start(command(workdir, corpus, "--config.train.steps=100000", *more), 1)
    lines = iter(process.stdout.readline, "")
    next(line for line in lines if "step 3/" in line)
    fill(small_disk, 0)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 2
    assert "Traceback" not in output
    assert output.splitlines()[-1].endswith("cannot be written: No space left on device")
    state, facts = load_groups(workdir / "checkpoints")
    assert state["step"] == facts["batches_consumed"] >= 2


def test_a_save_cut_off_half_way_is_not_restored(corpus: Path, tmp_path: Path) -> None:
    """Killed while it writes a checkpoint, a run goes on from the one before."""
    workdir = tmp_path / "run"
    more = ("--config.checkpoint.every=1", "--config.train.steps=100000")
    (process,) = start(command(workdir, corpus, *more), devices=1)
    folder, deadline = workdir / "checkpoints", time.monotonic() + 300
    partial: list[Path] = []
    while time.monotonic() < deadline and not partial:
        # one that has a complete checkpoint beside it
        whole = folder.is_dir() and any(p.name.isdigit() for p in folder.iterdir())
        partial = list(folder.glob("*tmp*")) if whole else []
    process.kill()
    process.communicate()
    left = list(folder.glob("*tmp*"))
    state, facts = load_groups(folder)
    assert state["step"] == facts["batches_consumed"]
    for path in left:  # the rename may have come before the kill
        assert int(path.name.split(".")[0]) > state["step"]
    (again,) = start(command(workdir, corpus, "--config.checkpoint.every=1"), devices=1)
    output = again.communicate(timeout=300)[0]
    assert again.returncode == 0, output
    assert f"continuing at step {state['step']} in" in output or state["step"] >= STEPS
    assert not list(folder.glob("*tmp*"))
