"""Interleaved timing: every round runs each contender once, so that a busy moment hits all.

Each contender lives in a process of its own, so that two frameworks share neither memory nor
threads.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import platform
import resource
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

Run = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Attributes: median and first, seconds of the timed runs and of the very first; peak_gib,
    the most memory that the contender's process ever held."""

    median: float
    first: float
    peak_gib: float


def interleaved(
    contenders: Mapping[str, Callable[[], Run]], rounds: int, warm_up: int = 2
) -> dict[str, Timing]:
    """Time contenders.

    Args:
      contenders: name -> picklable function that is called in the contender's process and returns
        what is timed; that returns when its work is done.
      rounds: timed runs of each.
      warm_up: runs of each before them; the first is reported apart.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, make in contenders.items():
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(make, theirs), daemon=True))
        processes[-1].start()
    first = {name: _ask(pipe) for name, pipe in pipes.items()}
    for _ in range(warm_up - 1):
        for pipe in pipes.values():
            _ask(pipe)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, pipe in pipes.items():
            seconds[name].append(_ask(pipe))
    peaks = {name: _ask(pipe, "peak") for name, pipe in pipes.items()}
    for process in processes:
        process.terminate()
    return {n: Timing(float(np.median(seconds[n])), first[n], peaks[n]) for n in contenders}


def _ask(pipe: Connection, what: str = "run") -> float:
    pipe.send(what)
    return pipe.recv()


def _serve(make: Callable[[], Run], pipe: Connection) -> None:
    run = make()
    while pipe.recv() == "run":
        began = time.perf_counter()
        run()
        pipe.send(time.perf_counter() - began)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def hardware() -> str:
    """The processor in one line."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    return f"{model}, {platform.machine()}"
