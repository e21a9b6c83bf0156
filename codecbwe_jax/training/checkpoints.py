"""Checkpoints: every parameter group with its optimiser, moving averages, and the data position.

A checkpoint is complete or absent: orbax writes under a temporary name and renames. Of several
processes the leader alone writes; all read.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from codecbwe_jax.errors import UserError
from codecbwe_jax.training.cluster import is_leader

Tree = Any


class Checkpoints:
    """The checkpoints of a work folder.

    Args:
      folder: `<workdir>/checkpoints`; each step has a sub-folder.
      keep_last: how many of the newest to keep.
      best: (metric, "min" or "max") whose best checkpoint is kept too, or None.
    """

    def __init__(
        self, folder: Path, keep_last: int = 1, best: tuple[str, str] | None = None
    ) -> None:
        # orbax logs the traceback of what it raises
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        policies: list[Any] = [ocp.checkpoint_managers.LatestN(n=keep_last)]
        if best:
            name, direction = best
            policies.append(
                ocp.checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics[name],
                    reverse=direction == "min",
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        self._best, self._folder = best, folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
                enable_async_checkpointing=False,
                create=False,
                # what a killed process left
                cleanup_tmp_directories=is_leader(),
                multiprocessing_options=_alone(),
            ),
        )

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: dict[str, Tree],
        facts: dict[str, Any],
        metrics: dict[str, float],
    ) -> None:
        """Save a host state. A step that is already there is left alone.

        Args:
          step: number of completed steps.
          state: see `training.step.init_state`, without a device axis.
          facts: the config and the data position; JSON.
          metrics: figures of the last evaluation, for keeping the best.

        Raises:
          UserError: if it cannot be written.
        """
        if step in self._manager.all_steps():
            return
        known = self._best and self._best[0] in metrics
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(jax.tree.map(np.asarray, state)),
                    facts=ocp.args.JsonSave(facts),
                ),
                metrics=dict(metrics) if known else None,
                force=True,
            )
        except (OSError, ValueError, RuntimeError) as error:  # tensorstore raises the latter two
            self._discard(step)
            reason = str(error).strip().splitlines()[0]
            if os.strerror(errno.ENOSPC) in reason:
                reason = os.strerror(errno.ENOSPC)
            raise UserError(f"checkpoint {step} cannot be written: {reason}") from None

    def _discard(self, step: int) -> None:
        """Remove what a failed save left: on a full disk the next one needs the room."""
        for path in self._folder.glob(f"{step}.*tmp*"):
            shutil.rmtree(path, ignore_errors=True)

    def facts(self, step: int) -> dict[str, Any]:
        """The config and the data position of a step."""
        args = ocp.args.Composite(facts=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)["facts"]

    def restore(self, step: int, like: dict[str, Tree]) -> dict[str, Tree]:
        """The state of a step.

        Args:
          step: which.
          like: a state of the same structure and shapes.

        Raises:
          UserError: if its tensors do not fit.
        """
        shapes = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        try:
            args = ocp.args.Composite(state=ocp.args.StandardRestore(shapes))
            return self._manager.restore(step, args=args)["state"]
        except (ValueError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(f"checkpoint {step} is of another model: {first}") from None

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.close()


def _alone() -> ocp.options.MultiprocessingOptions:
    """This process waits for no other."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    )


def load_groups(folder: Path, step: int | None = None) -> tuple[dict[str, Tree], dict[str, Any]]:
    """Read a checkpoint without knowing its structure, on any number of devices.

    Args:
      folder: `<workdir>/checkpoints`.
      step: which, the newest if None.

    Returns:
      (state as nested dicts of NumPy arrays, facts).

    Raises:
      UserError: if there is no complete checkpoint.
    """
    manager = ocp.CheckpointManager(folder.resolve())
    step = manager.latest_step() if step is None else step
    if step is None:
        raise UserError(f"{folder}: no complete checkpoint in it yet")
    with manager:
        facts = manager.restore(step, args=ocp.args.Composite(facts=ocp.args.JsonRestore()))
    state = ocp.PyTreeCheckpointer().restore(folder.resolve() / str(step) / "state")
    return jax.tree.map(np.asarray, state), facts["facts"]
