"""The processes of one run: how they find each other, and what they tell each other.

JAX's distributed runtime does the work. For a process alone everything here is the identity. The
leader, process 0, reads and writes for all what is shared: checkpoints, logs, evaluations.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from codecbwe_jax import lock
from codecbwe_jax.errors import UserError

T = TypeVar("T")
# What Slurm tells a process that `srun` started.
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
# Notebooks with a TPU of their own, whose metadata server does not answer.
NOTEBOOKS = ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")


def join(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Join the other processes of a run, before JAX is used.

    On TPU pods, under Slurm and on GKE the environment says who they are. Alone, it does nothing.

    Args:
      coordinator: "HOST:PORT" of process 0, where the environment does not say it.
      processes: how many there are.
      process: which of them this is, from 0.

    Raises:
      UserError: if some of the three are given but not all, or the others cannot be reached.
    """
    if coordinator is None and processes is None and process is None:
        if not detected(os.environ):
            return
    elif not _together(coordinator, processes, process):
        raise UserError(
            "--coordinator=HOST:PORT, --processes=N and --process=I (from 0 to N-1) go together"
        )
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"cannot join the other processes of this run: {first}") from None


def _together(coordinator: str | None, processes: int | None, process: int | None) -> bool:
    """Whether the three are all given, and one of so many processes is meant."""
    if coordinator is None or processes is None or process is None:
        return False
    return ":" in coordinator and 0 <= process < processes


def detected(environment: Mapping[str, str]) -> bool:
    """Whether the environment is that of one of several processes: `srun` with more than one task,
    a TPU pod's hosts as GKE names them, or a TPU virtual machine, which asks Google Cloud."""
    if all(name in environment for name in SLURM):
        return int(environment["SLURM_NTASKS"]) > 1
    if int(environment.get("MEGASCALE_NUM_SLICES", "1")) > 1:
        return True
    if "TPU_WORKER_HOSTNAMES" in environment:
        return "," in environment["TPU_WORKER_HOSTNAMES"]
    if any(name in environment for name in NOTEBOOKS):
        return False
    has_chips = any(Path("/dev").glob("accel*")) or any(Path("/dev/vfio").glob("[0-9]*"))
    return has_chips and importlib.util.find_spec("libtpu") is not None


def is_leader() -> bool:
    """Whether this process writes what all share."""
    return jax.process_index() == 0


@contextlib.contextmanager
def only_leader_speaks() -> Iterator[None]:
    """Standard output of the others goes nowhere; errors are everybody's."""
    if is_leader():
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def from_leader(value: Any) -> Any:
    """The leader's value, on every process; JSON. The others' argument does not count."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8) if is_leader() else np.zeros(0)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if is_leader() else np.zeros(length, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text), np.uint8).tobytes())


def on_leader(work: Callable[[], T]) -> T:
    """What some work gives, done by the leader for all.

    Raises:
      UserError: on every process, if it does so on the leader.
    """
    if jax.process_count() == 1:
        return work()
    answer: dict[str, Any] = {}
    if is_leader():
        try:
            answer = {"value": work()}
        except UserError as error:
            answer = {"error": str(error)}
    answer = from_leader(answer)
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["value"]


@contextlib.contextmanager
def leader_holds(folder: Path) -> Iterator[None]:
    """Keep a folder for this run.

    Raises:
      UserError: on every process, if another run is at work in it.
    """
    with contextlib.ExitStack() as stack:
        on_leader(lambda: stack.enter_context(lock.held(folder)))
        yield


def leader_first(work: Callable[[], T]) -> T:
    """Do some work on the leader, then on the others, who find what it left in shared folders."""
    done: list[T] = []

    def first() -> None:
        done.append(work())

    on_leader(first)
    return done[0] if done else work()


def check_agreement(what: str, value: str) -> None:
    """Raises UserError on every process if they do not all have the same value."""
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(bytes.fromhex(f"{value:0>16}"), np.uint8)
    others = multihost_utils.process_allgather(digest)
    if not np.all(others == others[0]):
        raise UserError(f"the processes of this run do not have the same {what}")
