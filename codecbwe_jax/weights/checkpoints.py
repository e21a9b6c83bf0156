"""Checkpoints: every parameter group with its optimiser, moving averages, and the data position.

A checkpoint is complete or absent: orbax writes under a temporary name and renames. Checksums of
all arrays are in it, and are compared whenever it is read. Of several processes the leader alone
writes; all read.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import functools
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from codecbwe_jax import atomic, checksums
from codecbwe_jax.errors import UserError, some

Tree = Any
SHOWN = 200  # characters of what a library says


class DamagedError(UserError):
    """A checkpoint that is not what was saved."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A checkpoint as it was read.

    Attributes:
      folder: `<workdir>/checkpoints`.
      step: number of completed steps.
      tree: nested dicts of NumPy arrays.
      facts: the config and the data position.
    """

    folder: Path
    step: int
    tree: dict[str, Tree]
    facts: dict[str, Any]

    def fill(self, like: dict[str, Tree]) -> dict[str, Tree]:
        """The arrays in the structure of a state.

        Args:
          like: a state of the same shapes.

        Raises:
          UserError: if names, types or shapes differ.
        """
        wanted = {path: checksums.layout(leaf) for path, leaf in _by_path(like).items()}
        arrays = _by_path(self.tree)
        found = {path: checksums.layout(array) for path, array in arrays.items()}
        wrong = [
            f"{path} is {found.get(path, 'missing')}, expected {wanted.get(path, 'nothing')}"
            for path in sorted({*wanted, *found})
            if wanted.get(path) != found.get(path)
        ]
        if wrong:
            raise UserError(
                f"{self.folder}: checkpoint {self.step} is of another model: {some(wrong, 3)}"
            )
        return jax.tree.unflatten(jax.tree.structure(like), [arrays[path] for path in wanted])


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
        _silence()
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
                cleanup_tmp_directories=jax.process_index() == 0,
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
        state = jax.tree.map(np.asarray, state)
        sums = {
            "facts": checksums.of_json(facts),
            "state": checksums.of_arrays(_by_path(state)),
        }
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    facts=ocp.args.JsonSave(facts),
                    checksums=ocp.args.JsonSave(sums),
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

    def newest(self, say: Callable[[str], None] = print) -> Stored | None:
        """The newest whole checkpoint, or None if there is none at all. Newer ones that are damaged
        are set aside by the leader, as `<step>.damaged`.

        Args:
          say: gets a line about each that is damaged, or that cannot be checked.

        Raises:
          UserError: if all are damaged.
        """
        self._manager.reload()
        steps = sorted(self._manager.all_steps(), reverse=True)
        found = _newest(self._folder, steps, say)
        if found and jax.process_index() == 0:
            for step in steps[: steps.index(found.step)]:
                self._set_aside(step)
            self._manager.reload()
        return found

    def _set_aside(self, step: int) -> None:
        target = self._folder / f"{step}.damaged"
        with atomic.told(target):
            atomic.remove(target)
            (self._folder / str(step)).rename(target)

    def restore(self, step: int, like: dict[str, Tree]) -> dict[str, Tree]:
        """The state of a step.

        Args:
          step: which.
          like: a state of the same structure and shapes.

        Raises:
          UserError: if it is damaged, or its tensors do not fit.
        """
        return _read(self._folder, step, print).fill(like)

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


def load_groups(
    folder: Path, step: int | None = None, say: Callable[[str], None] = print
) -> tuple[dict[str, Tree], dict[str, Any]]:
    """Read a checkpoint without knowing its structure, on any number of devices.

    Args:
      folder: `<workdir>/checkpoints`.
      step: which, the newest whole one if None.
      say: gets a line about each that is damaged, or that cannot be checked.

    Returns:
      (state as nested dicts of NumPy arrays, facts).

    Raises:
      UserError: if there is no complete checkpoint, or it is damaged.
    """
    steps = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    chosen = sorted(steps, reverse=True) if step is None else [step]
    found = _newest(folder, chosen, say)
    if found is None:
        raise UserError(f"{folder}: no complete checkpoint in it yet")
    return found.tree, found.facts


def _newest(folder: Path, steps: Sequence[int], say: Callable[[str], None]) -> Stored | None:
    """The first of some steps that is whole, None if there are no steps.

    Raises:
      UserError: if none is whole.
    """
    damage = []
    for step in steps:
        try:
            found = _read(folder, step, say)
        except DamagedError as error:
            damage.append(str(error))
            continue
        for text in damage:
            say(f"{text}; step {found.step} is taken instead")
        return found
    if damage:
        more = f", nor is any of the {len(damage) - 1} before it" if len(damage) > 1 else ""
        raise UserError(f"{damage[0]}{more}: there is no whole checkpoint to go on from")
    return None


def _read(folder: Path, step: int, say: Callable[[str], None]) -> Stored:
    """A checkpoint, compared with the checksums that were saved with it.

    Raises:
      DamagedError: if it is not what was saved.
      UserError: if it may not be read.
    """
    place = folder.resolve() / str(step)
    facts, sums = _item(place, "facts", _JSON), {}
    if (place / "checksums").is_dir():
        sums = _item(place, "checksums", _JSON)
    tree = jax.tree.map(np.asarray, _item(place, "state", _ARRAYS))
    stored = Stored(folder, step, tree, facts)
    if not sums:
        say(f"{folder}: checkpoint {step} has no checksums, so that damage to it would not be seen")
    elif sums.get("facts") != checksums.of_json(facts):
        raise DamagedError(f"{folder}: checkpoint {step} is damaged: its facts are not those saved")
    elif wrong := checksums.damaged(_by_path(tree), sums.get("state", {})):
        raise DamagedError(f"{folder}: checkpoint {step} is damaged: {some(wrong, 3)}")
    return stored


class _Arrays(ocp.type_handlers.NumpyHandler):
    """Reads all arrays to their end even if one cannot be read: what would still be going on when
    the loop is closed prints tracebacks from its threads."""

    async def deserialize(self, infos: Sequence[Any], args: Any = None) -> list[np.ndarray]:
        args = args or [None] * len(infos)
        reads = [
            super(_Arrays, self).deserialize([info], [arg] if arg else None)
            for info, arg in zip(infos, args, strict=True)
        ]
        results = await asyncio.gather(*reads, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [array for (array,) in results]


_JSON = ocp.JsonCheckpointHandler
_ARRAYS = functools.partial(
    ocp.PyTreeCheckpointHandler,
    type_handler_registry=ocp.type_handlers.create_type_handler_registry((np.ndarray, _Arrays())),
)


def _silence() -> None:
    # orbax logs the traceback of what it raises
    logging.getLogger("absl").setLevel(logging.CRITICAL)


def _item(place: Path, name: str, handler: Callable[..., Any]) -> dict[str, Any]:
    """A part of a checkpoint.

    Raises:
      DamagedError, UserError: as `_read`.
    """
    _silence()
    alone = _alone()
    reader = ocp.Checkpointer(handler(multiprocessing_options=alone), multiprocessing_options=alone)
    what = f"{place.parent}: checkpoint {place.name}"
    try:
        item = reader.restore(place / name)
    except MemoryError:
        raise
    except Exception as error:  # there is no end to what orbax and tensorstore raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, PermissionError) or "PERMISSION_DENIED" in reason:
            raise UserError(f"{what} cannot be read: {reason}") from None
        told = f"its {name} cannot be read ({reason[:SHOWN]})"
        raise DamagedError(f"{what} is damaged: {told}") from None
    if not isinstance(item, dict):
        raise DamagedError(f"{what} is damaged: its {name} is no table")
    return item


def _by_path(tree: Tree) -> dict[str, Any]:
    """Leaves by their paths, as "params/generator/norm/scale": the same for the named tuples of an
    optimiser and for what is read of them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
