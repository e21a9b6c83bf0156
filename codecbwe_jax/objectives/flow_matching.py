"""Flow matching: the field of a path, learnt at random places of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import Fraction
from codecbwe_jax.objectives.turn import Average, Batch, Context, Params, Report, Turn
from codecbwe_jax.solvers.paths import Path
from codecbwe_jax.systems.base import System


@runtime_checkable
class Flows(Protocol):
    """What this objective asks of a system."""

    def clean(self, batch: Batch) -> jax.Array:
        """Where the flow is to lead, float32 `[B, ...]`."""

    def condition(self, params: Params, batch: Batch, dropped: jax.Array | None) -> Any:
        """What it is told, arrays `[B, ...]`; nothing for items that are dropped, bool `[B]`."""

    def prior(self, condition: Any) -> jax.Array:
        """What is known of the clean data before anything is sampled, `[B, ...]` alike, or 0."""

    def flow_path(self) -> Path:
        """Along which it flows."""

    def field(self, params: Params, x: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
        """The network's field at places `[B, ...]` and times `[B]` in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class FlowMatchingSettings:
    """`config.objective` of this objective.

    Attributes:
      dropped: share of the items whose condition is dropped, so that guidance may be used.
    """

    dropped: Fraction = 0.0


class FlowMatching:
    """The objective: one turn, whose loss is the mean square of what the field is away from that of
    the path at a random time, in random noise.

    Lipman et al., "Flow Matching for Generative Modeling" (2023), eq. 23.

    Args:
      system: what is trained.
      settings: `config.objective` as a ConfigDict.

    Raises:
      UserError: if the system has no field.
    """

    identity: ClassVar[tuple[str, ...]] = ()
    settings_kind: ClassVar[type] = FlowMatchingSettings
    generator = "generator"
    averages: Mapping[str, Average] = MappingProxyType({})

    def __init__(self, system: System, settings: Any) -> None:
        if not isinstance(system, Flows):
            raise UserError(
                f"config.objective flow_matching: {type(system).__name__} has no field that flows"
            )
        self.flow, self._init, self.dropped = system, system.init, settings.dropped
        self.turns = (Turn(self.generator, self._loss),)

    def init(self, key: jax.Array) -> dict[str, Any]:
        return {self.generator: self._init(key)}

    def _loss(self, params: Params, batch: Batch, context: Context) -> tuple[jax.Array, Report]:
        own, flow = params[self.generator], self.flow
        clean = flow.clean(batch)
        noise, t, chance = jax.vmap(_drawn, (0, None))(context.keys, clean.shape[1:])
        dropped = chance < self.dropped if self.dropped else None
        condition = flow.condition(own, batch, dropped)
        path, prior = flow.flow_path(), flow.prior(condition)
        said = flow.field(own, path.mix(clean, prior, noise, t), t, condition)
        loss = jnp.mean(jnp.square(said - path.velocity(clean, prior, noise)))
        return loss, Report({}, {})


def _drawn(key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """An item's noise, its time, and a number in [0, 1) that decides on its condition."""
    noise, time, chance = jax.random.split(key, 3)
    return jax.random.normal(noise, shape), jax.random.uniform(time), jax.random.uniform(chance)
