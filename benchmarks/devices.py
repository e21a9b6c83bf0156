"""What devices, dispatch and checkpoints cost: overhead beside the step's own work.

python -m benchmarks.devices

The global batch stays the same, and so does the total work: on virtual devices that share the same
cores, a step should take as long on eight as on one; what it takes longer is overhead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import hardware

COUNTS = (1, 2, 4, 8)


def prepared(config_name: str) -> tuple[Any, Any, Any, Any, Any]:
    """(config, mapping, mapped step, placed state, divided batch) of a run at its last step."""

    from codecbwe_jax.config import load_config
    from codecbwe_jax.training.run import Run

    run = Run.of(load_config(config_name, ["--config.train.batch_size=8"]))
    config, system, mapping = run.config, run.system, run.mapping
    state = run.fresh()
    step = run.steps(state["params"])(config.train.steps - 1)
    rng, samples = np.random.default_rng(0), config.data.segment_samples
    narrow = samples * system.input_rate // system.output_rate
    batch = {
        "target": 0.1 * rng.standard_normal((8, samples)).astype(np.float32),
        "input": 0.1 * rng.standard_normal((8, narrow)).astype(np.float32),
        "index": np.arange(8, dtype=np.int32),
    }
    return config, mapping, step, mapping.place(state), batch


def measure(config_name: str, rounds: int) -> dict[str, float]:
    """Milliseconds of one step, and of the host's part of it (dividing a batch, dispatching)."""
    import jax

    _, mapping, step, state, batch = prepared(config_name)
    key, frozen = jax.random.key(0), mapping.place({})
    steps, hosts = [], []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        state, metrics = step(state, mapping.divide(batch), key, frozen)
        hosts.append(time.perf_counter() - began)
        jax.block_until_ready((state, metrics))
        steps.append(time.perf_counter() - began)
    return {"step": 1000 * float(np.median(steps[2:])), "host": 1000 * float(np.median(hosts[2:]))}


def in_a_process(config_name: str, devices: int, rounds: int) -> dict[str, float]:
    """`measure` with so many virtual devices."""
    command = [sys.executable, "-m", "benchmarks.devices", "--config", config_name]
    command += ["--measure", "--rounds", str(rounds)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def checkpoint_times(config_name: str) -> dict[str, float]:
    """Seconds to save and to restore a run's state, and its size in megabytes."""
    from codecbwe_jax.weights.checkpoints import Checkpoints

    _, mapping, _, state, _ = prepared(config_name)
    host = mapping.fetch(state)
    with tempfile.TemporaryDirectory() as scratch:
        store = Checkpoints(Path(scratch), keep_last=5)
        saves, restores = [], []
        for i in range(1, 6):
            began = time.perf_counter()
            store.save(i, host, {}, {})
            saves.append(time.perf_counter() - began)
            began = time.perf_counter()
            store.restore(i, host)
            restores.append(time.perf_counter() - began)
        size = sum(p.stat().st_size for p in (Path(scratch) / "5").rglob("*") if p.is_file())
    return {
        "save": float(np.median(saves)),
        "restore": float(np.median(restores)),
        "megabytes": size / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/high_band.py:tiny")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.config, args.rounds)))
        return
    print(f"{hardware()}; {args.config}, batch 8")
    # interleaved, so that a busy moment hits all
    runs = [[in_a_process(args.config, n, args.rounds) for n in COUNTS] for _ in range(3)]
    for i, count in enumerate(COUNTS):
        step, host = (float(np.median([r[i][k] for r in runs])) for k in ("step", "host"))
        print(f"{count} devices: step {step:.1f} ms, host {host:.1f} ms")
    times = checkpoint_times(args.config)
    print(", ".join(f"{name} {value:.3g}" for name, value in times.items()))


if __name__ == "__main__":
    main()
