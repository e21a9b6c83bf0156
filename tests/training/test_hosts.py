"""Runs of several processes on this machine: joined, killed, restarted, told to leave."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from codecbwe_jax.config import load_config
from codecbwe_jax.training import cluster
from codecbwe_jax.training.run import Run
from codecbwe_jax.weights.checkpoints import load_groups
from tests.commands import Command

pytestmark = pytest.mark.xdist_group("hosts")

STEPS = 10
PROCESSES = 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(workdir: Path, corpus: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "codecbwe_jax",
        "train",
        "--config=tests/training/micro_config.py",
        f"--workdir={workdir}",
        f"--config.data.path={corpus}",
        f"--config.train.steps={STEPS}",
        "--config.checkpoint.every=4",
        "--config.evaluators.valid.every=5",
        *more,
    ]


def start(
    arguments: Sequence[str],
    devices: int,
    processes: int = 1,
    kind: type[subprocess.Popen] = Command,
) -> list[subprocess.Popen[str]]:
    """The processes of a run, each with some virtual devices."""
    coordinator = f"127.0.0.1:{free_port()}"
    started = []
    for process in range(processes):
        place = [f"--coordinator={coordinator}", f"--processes={processes}", f"--process={process}"]
        started.append(
            kind(
                [*arguments, *(place if processes > 1 else [])],
                env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


def finish(started: Sequence[subprocess.Popen[str]]) -> list[str]:
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [p.returncode for p in started] == [0] * len(started), "\n\n".join(outputs)
    return outputs


def wait_for_step(process: subprocess.Popen[str], workdir: Path, step: int) -> None:
    deadline, path = time.monotonic() + 300, workdir / "metrics.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"never reached step {step}: {process.communicate()[0]}")


def rows(workdir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def check_equal_runs(one: Path, other: Path) -> None:
    """The same losses and gradients at every step, and so the same way.

    Sums over devices are in another order, and Adam divides a gradient by its own size, so that
    where it is nearly zero a rounding takes another step: a thousandth of the whole way, measured.
    Other batches go another way altogether.
    """
    first, second = ([r for r in rows(w) if "generator/loss" in r] for w in (one, other))
    assert [r["step"] for r in first] == [r["step"] for r in second]
    for name in ("generator/loss", "generator/gradient_norm"):
        np.testing.assert_allclose(*([r[name] for r in run] for run in (first, second)), rtol=1e-3)
    config = load_config("tests/training/micro_config.py", ["--config.train.batch_size=8"])
    start = Run.of(config).starting_model("start").params
    ends = [load_groups(w / "checkpoints")[0]["params"]["generator"] for w in (one, other)]
    begin, one_end, other_end = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (start, *ends)
    )
    way = np.linalg.norm(one_end - begin)
    assert np.linalg.norm(one_end - other_end) < 0.02 * way


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """The run of one process with one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    finish(start(command(workdir, corpus), devices=1))
    return workdir


def test_two_processes_killed_and_restarted_train_what_one_does(
    alone: Path, corpus: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    started = start(command(workdir, corpus), 2, PROCESSES)
    wait_for_step(started[0], workdir, 6)
    started[1].kill()
    started[0].kill()
    for process in started:
        process.communicate()
    # each with hashes and imports of its own
    leader, other = finish(start(command(workdir, corpus), 2, PROCESSES, subprocess.Popen))
    assert "4 x cpu in 2 processes" in leader
    assert "continuing at step 4" in leader
    assert "step" not in other  # it keeps still
    check_equal_runs(alone, workdir)


def test_a_checkpoint_moves_between_device_counts(
    alone: Path, corpus: Path, tmp_path: Path
) -> None:
    """4 devices, then 1, then 2 processes of 2, which share the optimiser; the other mapping on
    the way."""
    workdir = tmp_path / "run"
    for steps, devices, processes, mapping, sharing in (
        (4, 4, 1, "pmap", True),
        (6, 1, 1, "pmap", False),
        (8, 2, PROCESSES, "shard_map", True),
        (STEPS, 2, PROCESSES, "pmap", True),
    ):
        more = (
            f"--config.train.steps={steps}",
            f"--config.train.mapping={mapping}",
            f"--config.train.share_optimizer={sharing}",
        )
        finish(start(command(workdir, corpus, *more), devices, processes))
    check_equal_runs(alone, workdir)


@pytest.mark.parametrize("told", range(PROCESSES))
def test_a_signal_to_one_process_stops_all_after_the_same_step(
    told: int, corpus: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    more = ("--config.train.steps=100000", "--config.checkpoint.every=100000")
    started = start(command(workdir, corpus, *more), 1, PROCESSES)
    wait_for_step(started[0], workdir, 3)
    started[told].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [p.returncode for p in started] == [128 + signal.SIGTERM] * PROCESSES, outputs
    state, facts = load_groups(workdir / "checkpoints")
    assert f"stopped and saved at step {state['step']}" in outputs[0]
    assert f"stopped and saved at step {state['step']}" in outputs[1]
    assert facts["batches_consumed"] == state["step"] == rows(workdir)[-1]["step"]


def test_processes_that_see_other_data_are_refused(corpus: Path, tmp_path: Path) -> None:
    started = []
    coordinator = f"127.0.0.1:{free_port()}"
    for process in range(PROCESSES):
        gain = f"--config.data.gain_db=({-1.0 - process},0.0)"
        place = [f"--coordinator={coordinator}", "--processes=2", f"--process={process}"]
        started += start([*command(tmp_path / "run", corpus, gain), *place], 1)
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [p.returncode for p in started] == [2] * PROCESSES, outputs
    assert all("do not have the same recordings" in output for output in outputs)


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"COLAB_RELEASE_TAG": "1"}, False),
        (dict.fromkeys(cluster.SLURM, "4"), True),
        (dict.fromkeys(cluster.SLURM, "1"), False),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "1"}, False),  # a shell in a job, no srun
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"MEGASCALE_NUM_SLICES": "2"}, True),
    ],
)
def test_clusters_are_known_by_their_environment(
    environment: dict[str, str], several: bool
) -> None:
    assert cluster.detected(environment) == several


def test_half_of_a_rendezvous_is_refused(corpus: Path, tmp_path: Path) -> None:
    # nothing is said by what is imported either
    (process,) = start([*command(tmp_path, corpus), "--processes=2"], 1, kind=subprocess.Popen)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    # grain warns on an older jaxlib
    lines = [line for line in output.splitlines() if not line.startswith("WARNING:absl")]
    assert len(lines) == 1
    assert "go together" in lines[0]
