"""A training step is a sequence of turns; this is what a turn is.

A GAN has one turn for each critic and one for the generator; flow matching has one;
distribution-matching distillation three. The trainer runs them all and never asks what they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax

Params = Mapping[str, Any]
Batch = Mapping[str, jax.Array]


class Context(NamedTuple):
    """What a loss may know beside parameters and batch.

    Attributes:
      step: int32 scalar.
      keys: one random key for each sample, folded from the step and the sample's global index,
        so that one device and eight draw the same.
      mean: averages an array over data-parallel devices.
    """

    step: jax.Array
    keys: jax.Array
    mean: Callable[[Any], Any]


class Report(NamedTuple):
    """What a loss gives beside its value.

    Attributes:
      metrics: scalars to log.
      updates: new values of parameter groups that no gradient trains (running means).
    """

    metrics: dict[str, jax.Array]
    updates: dict[str, Any]


Loss = Callable[[Params, Batch, Context], tuple[jax.Array, Report]]
Upkeep = Callable[[Params, Context], Mapping[str, Any]]


def nothing(params: Params, context: Context) -> Mapping[str, Any]:
    """The upkeep of most turns."""
    return {}


@dataclasses.dataclass(frozen=True)
class Turn:
    """One update of one parameter group.

    Attributes:
      group: the parameter group that the gradient is taken for and the optimiser updates.
      loss: pure function of all groups `{group: params}`, the batch and the context.
      active: whether the turn takes place at a step; decided in Python, so that what is
        inactive is not compiled and costs nothing.
      upkeep: pure function of all groups as the update leaves them: new values of some, which no
        gradient gives (unused codes replaced).
    """

    group: str
    loss: Loss
    active: Callable[[int], bool] = lambda step: True
    upkeep: Upkeep = nothing


class Objective(Protocol):
    """What the trainer asks of an objective.

    Attributes:
      turns: in the order in which they take place.
      generator: the group whose parameters the system runs with.
    """

    turns: Sequence[Turn]
    generator: str

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh parameters of every group."""
