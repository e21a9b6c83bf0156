"""Traces of chosen steps for TensorBoard's profiler."""

from __future__ import annotations

import re
from pathlib import Path

import jax

from codecbwe_jax.errors import UserError


class Profile:
    """Traces the steps of a run that its config names.

    Args:
      steps: "FIRST-LAST", numbered as in `metrics.jsonl`; "" traces none.
      folder: of the run's TensorBoard files.

    Raises:
      UserError: if the steps are malformed.
    """

    def __init__(self, steps: str, folder: Path) -> None:
        self.folder, self._tracing = folder, False
        self.first, self.last = 0, -1
        if steps:
            parts = re.fullmatch(r"(\d+)-(\d+)", steps)
            if not parts or not 0 < int(parts[1]) <= int(parts[2]):
                raise UserError(f"config.profile.steps is {steps!r}; FIRST-LAST, as in 100-105")
            self.first, self.last = int(parts[1]), int(parts[2])

    def before(self, step: int) -> None:
        """To be called before a step."""
        if step == self.first:
            jax.profiler.start_trace(str(self.folder))
            self._tracing = True

    def after(self, step: int, result: object) -> bool:
        """To be called after a step, with something that the step computes; whether the trace is
        complete now."""
        if not self._tracing or step < self.last:
            return False
        jax.block_until_ready(result)
        self.close()
        return True

    def close(self) -> None:
        """End the trace, if there is one."""
        if self._tracing:
            jax.profiler.stop_trace()
        self._tracing = False
