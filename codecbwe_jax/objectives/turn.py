"""A training step is a sequence of turns; this is what a turn is.

A GAN has one turn for each critic and one for the generator; flow matching has one;
distribution-matching distillation three. The trainer runs them all and never asks what they are.
Several updates of one group for one of another are turns that are active in every so many steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

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
      frozen: parameters that nothing trains, by name: a system's parts, a teacher.
      averages: moving averages by name, as `Objective.averages` and the trainer have them.
    """

    step: jax.Array
    keys: jax.Array
    mean: Callable[[Any], Any]
    frozen: Params = MappingProxyType({})
    averages: Params = MappingProxyType({})


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


@dataclasses.dataclass(frozen=True)
class Average:
    """An exponential moving average of a group.

    Attributes:
      group: whose parameters.
      decay: share that is kept in a step.
      before_losses: whether it moves at a step's beginning, so that losses see what it becomes, and
        not at its end, with what the turns made.
    """

    group: str
    decay: float
    before_losses: bool = False


class Objective(Protocol):
    """What the trainer asks of an objective.

    Attributes:
      identity: fields of `config.objective` that say what groups there are and of what shapes: a
        run goes on with the same ones alone.
      turns: in the order in which they take place.
      generator: the group whose parameters the system runs with.
      averages: those that its losses see, by names that no group has.
    """

    identity: ClassVar[tuple[str, ...]]
    turns: Sequence[Turn]
    generator: str
    averages: Mapping[str, Average]

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh parameters of every group."""
