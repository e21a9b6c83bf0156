"""How fast models run on one CPU thread: `python -m codecbwe_jax.evaluation.speed MODEL ...`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from codecbwe_jax.errors import UserError

SECONDS = 4
ROUNDS = 5


def one_thread_factors(folders: Sequence[Path]) -> list[float]:
    """Seconds of computing per second of output of each model, in a process that has one CPU.

    Args:
      folders: of native decoders or codecs (they decode tokens), or of other systems.

    Raises:
      UserError: if the process fails, with the model that it was at.
    """
    command = [sys.executable, "-m", "codecbwe_jax.evaluation.speed", *map(str, folders)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        timed = len(done.stdout.split())
        reason = [f"status {done.returncode}", *done.stderr.strip().splitlines()][-1]
        raise UserError(f"{folders[min(timed, len(folders) - 1)]}: cannot be timed: {reason}")
    return [float(line) for line in done.stdout.split()]


def _main(folders: Sequence[str]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for folder in folders:
        print(_factor(folder), flush=True)


def _factor(folder: str) -> float:
    # after the process has one CPU: XLA makes as many threads as it sees
    from codecbwe_jax.inference.extender import BandwidthExtender
    from codecbwe_jax.inference.model_folders import load_model
    from codecbwe_jax.inference.token_decoder import TokenDecoder
    from codecbwe_jax.systems.tokens import TokenSystem

    model, rng = load_model(folder), np.random.default_rng(0)
    if isinstance(model.system, TokenSystem):
        decoder = TokenDecoder(model)
        frames = SECONDS * model.system.input_rate // model.system.token_hop_length
        tokens = rng.integers(0, model.system.codebook_size, frames)
        times = _times(lambda: decoder.decode(tokens))
    else:
        extender = BandwidthExtender(model, say=lambda text: None)
        wave = rng.standard_normal(SECONDS * model.system.input_rate).astype(np.float32)
        times = _times(lambda: extender(wave, model.system.input_rate))
    return float(np.median(times)) / SECONDS


def _times(run: Callable[[], object]) -> list[float]:
    run()  # compiles
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    _main(sys.argv[1:])
