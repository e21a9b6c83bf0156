"""How fast one model runs on one CPU thread: `python -m codecbwe_jax.evaluation.speed MODEL`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from codecbwe_jax.errors import UserError

SECONDS = 4
ROUNDS = 5


def one_thread_factor(folder: Path) -> float:
    """Seconds of computing per second of output, in a process that has one CPU.

    Args:
      folder: of a native decoder or a codec (it decodes tokens), or of another system.

    Raises:
      UserError: if the process fails.
    """
    command = [sys.executable, "-m", "codecbwe_jax.evaluation.speed", str(folder)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UserError(f"{folder}: cannot be timed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def _main(folder: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    # after the process has one CPU: XLA makes as many threads as it sees
    from codecbwe_jax.inference.extender import BandwidthExtender
    from codecbwe_jax.inference.model import load_model
    from codecbwe_jax.inference.token_decoder import TokenDecoder

    model, rng = load_model(folder), np.random.default_rng(0)
    if hasattr(model.system, "codebook_size"):
        decoder = TokenDecoder(model)
        frames = SECONDS * model.system.input_rate // model.system.token_hop_length
        tokens = rng.integers(0, model.system.codebook_size, frames)
        times = _times(lambda: decoder.decode(tokens))
    else:
        extender = BandwidthExtender(model, say=lambda text: None)
        wave = rng.standard_normal(SECONDS * model.system.input_rate).astype(np.float32)
        times = _times(lambda: extender(wave, model.system.input_rate))
    print(float(np.median(times)) / SECONDS)


def _times(run: object) -> list[float]:
    run()  # compiles
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    _main(sys.argv[1])
