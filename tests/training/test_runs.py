"""Real runs in real processes: killed, resumed, interrupted, started from elsewhere."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from codecbwe_jax.weights.checkpoints import load_groups
from tests.commands import Command
from tests.conftest import run_cli

# what they share takes long to make
pytestmark = pytest.mark.xdist_group("runs")

STEPS = 14


def command(workdir: Path, corpus: Path, *more: str) -> list[str]:
    return [
        "train",
        "--config=tests/training/micro_gan.py",
        f"--workdir={workdir}",
        f"--config.data.path={corpus}",
        f"--config.train.steps={STEPS}",
        "--config.objective.adversarial_from=4",
        "--config.checkpoint.every=4",
        "--config.evaluators.valid.every=5",
        *more,
    ]


def start(arguments: list[str], kind: type[subprocess.Popen] = Command) -> subprocess.Popen:
    return kind(
        [sys.executable, "-m", "codecbwe_jax", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def logged(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        text = (
            (workdir / "metrics.jsonl").read_text() if (workdir / "metrics.jsonl").exists() else ""
        )
        if f'"step": {step},' in text:
            return
        time.sleep(0.02)
    raise AssertionError(f"never reached step {step}: {process.communicate()[0]}")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    workdir = tmp_path_factory.mktemp("whole") / "run"
    result = run_cli(*command(workdir, corpus))
    assert result.returncode == 0, result.stderr
    return workdir


def same_runs(a: Path, b: Path) -> None:
    assert logged(a) == logged(b)
    first, second = (load_groups(w / "checkpoints")[0] for w in (a, b))
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(second)))


def test_killed_at_a_random_moment_it_continues_bit_for_bit(
    uninterrupted: Path, corpus: Path, tmp_path: Path
) -> None:
    seed = np.random.SeedSequence().entropy % 2**32
    print(f"seed {seed}")  # shown if it fails
    rng = np.random.default_rng(seed)
    workdir = tmp_path / "run"
    for step in sorted(rng.choice(np.arange(2, STEPS), 2, replace=False)):
        process = start(command(workdir, corpus))
        wait_for_step(process, workdir, int(step))
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    result = run_cli(*command(workdir, corpus))
    assert result.returncode == 0, result.stderr
    same_runs(uninterrupted, workdir)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_first_and_says_how_to_go_on(
    number: signal.Signals, uninterrupted: Path, corpus: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    # a Ctrl-C meets Python as a person starts it
    kind = subprocess.Popen if number == signal.SIGINT else Command
    process = start(command(workdir, corpus), kind)
    wait_for_step(process, workdir, 6)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "the same command continues" in output
    saved = max(int(p.name) for p in (workdir / "checkpoints").iterdir())
    assert f"stopped and saved at step {saved}" in output
    assert run_cli(*command(workdir, corpus)).returncode == 0
    same_runs(uninterrupted, workdir)


def test_the_work_folder_holds_what_it_should(uninterrupted: Path) -> None:
    names = {p.name for p in uninterrupted.iterdir()}
    assert {"config.json", "checkpoints", "tensorboard", "metrics.jsonl"} <= names
    state, facts = load_groups(uninterrupted / "checkpoints")
    assert set(state["params"]) == {"generator", "mpd"} == set(state["optimizers"])
    assert set(state["ema"]) == {"generator"}
    assert facts["batches_consumed"] == state["step"] == STEPS
    assert facts["config"] == json.loads((uninterrupted / "config.json").read_text())
    rows = logged(uninterrupted)
    assert [r["step"] for r in rows if "generator/loss" in r] == list(range(1, STEPS + 1))
    assert "mpd/loss" not in next(r for r in rows if r["step"] == 4)
    assert "mpd/loss" in next(r for r in rows if r["step"] == 5)


def test_the_best_and_the_last_checkpoints_are_kept(uninterrupted: Path) -> None:
    kept = {int(p.name) for p in (uninterrupted / "checkpoints").iterdir() if p.name.isdigit()}
    scores = {
        r["step"]: r["valid/lsd_high"] for r in logged(uninterrupted) if "valid/lsd_high" in r
    }
    # checkpoints at 4 (no figure yet), 8 (of step 5), 12 (of step 10), 14 (its own)
    at = {8: scores[5], 12: scores[10], 14: scores[14]}
    assert kept == {12, 14} | {min(at, key=at.get)}


def test_other_data_is_refused(uninterrupted: Path, corpus: Path) -> None:
    more = ("--config.data.gain_db=(-3.0,0.0)", f"--config.train.steps={STEPS + 1}")
    result = run_cli(*command(uninterrupted, corpus, *more))
    assert result.returncode == 2
    assert "config.data.gain_db [-12.0, 6.0] -> [-3.0, 0.0]; put it back" in result.stderr
    assert result.stderr.count("\n") == 1
    result = run_cli(*command(uninterrupted, corpus, "--config.train.batch_size=8"))
    assert "means nothing with config.train.batch_size 4 -> 8; put it back" in result.stderr


def test_another_model_is_refused(uninterrupted: Path, corpus: Path) -> None:
    result = run_cli(*command(uninterrupted, corpus, "--config.system.size=12"))
    assert result.returncode == 2
    assert "holds another model: config.system.size 8 -> 12; start in a new" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_converted_generator_gets_fresh_critics_warmed_up_alone(
    uninterrupted: Path, corpus: Path, tmp_path: Path
) -> None:
    exported = tmp_path / "export"
    assert run_cli("export", f"--model={uninterrupted}", f"--output={exported}").returncode == 0
    workdir = tmp_path / "run"
    more = (
        f"--config.train.init_from={exported}",
        "--config.train.steps=3",
        "--config.objective.adversarial_from=0",
        "--config.objective.critics_alone_steps=3",
        "--config.train.ema_decay=0.0",
    )
    result = run_cli(*command(workdir, corpus, *more))
    assert result.returncode == 0, result.stderr
    assert "generator starts from" in result.stdout
    ours = load_groups(workdir / "checkpoints")[0]["params"]["generator"]
    source = load_groups(uninterrupted / "checkpoints")[0]["ema"]["generator"]
    assert all(map(np.array_equal, jax.tree.leaves(ours), jax.tree.leaves(source)))
    assert all("generator/loss" not in r and "mpd/loss" in r for r in logged(workdir)[:2])


def test_a_run_that_diverges_stops_with_one_line(corpus: Path, tmp_path: Path) -> None:
    more = (
        "--config.objective.losses.multi_scale_mel.weight=1e38",
        "--config.optimizers.default.clip_norm=0.0",
        "--config.train.max_skipped_in_row=3",
    )
    result = run_cli(*command(tmp_path / "run", corpus, *more))
    assert result.returncode == 2
    assert "of 1 updates not finite and skipped" in result.stdout
    assert "1 of 1 updates not finite and skipped, 3 in a row (config.train" in result.stderr
    assert "checkpoint" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_second_run_in_a_folder_is_refused_and_a_kill_frees_it(
    corpus: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    process = start(command(workdir, corpus, "--config.train.steps=100000"))
    wait_for_step(process, workdir, 2)
    before = logged(workdir)
    second = run_cli(*command(workdir, corpus))
    assert second.returncode == 2
    assert f"{workdir}: process {process.pid} on " in second.stderr
    assert "is at work in it; wait for it, or take another folder" in second.stderr
    assert second.stderr.count("\n") == 1
    process.kill()
    process.communicate()
    assert logged(workdir)[: len(before)] == before
    more = ("--config.train.steps=6", "--config.optimizers.default.learning_rate=0.0002")
    again = run_cli(*command(workdir, corpus, *more))
    assert again.returncode == 0, again.stderr
