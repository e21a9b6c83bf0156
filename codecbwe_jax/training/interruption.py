"""Being asked to stop: Ctrl-C, or a machine that is about to be taken away.

One process stops after the step in which the signal arrives. Of several, each may get it at another
moment, or one alone: JAX's coordination service tells all, and all stop after the same step.
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils


class Interrupted(Exception):  # noqa: N818 - it is not an error
    """The run was asked to stop, and the state is saved. `code` is the exit status."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Interruption:
    """Watches for SIGINT and SIGTERM while it is entered; a second SIGINT acts as usual."""

    def __init__(self) -> None:
        self._caught: list[int] = []
        self._alone = jax.process_count() == 1

    def __enter__(self) -> Interruption:
        # of several processes, JAX itself watches for SIGTERM
        watched = (signal.SIGINT, signal.SIGTERM) if self._alone else (signal.SIGINT,)
        self._previous = {number: signal.signal(number, self._note) for number in watched}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def status(self, step: int) -> int | None:
        """The exit status, 128 and the signal's number, if the run is to stop after this step; to
        be asked once after every step."""
        if self._alone:
            return 128 + self._caught[0] if self._caught else None
        reached = multihost_utils.reached_preemption_sync_point(step)
        return 128 + signal.SIGTERM if reached else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._caught.append(number)
        if not self._alone:
            os.kill(os.getpid(), signal.SIGTERM)
