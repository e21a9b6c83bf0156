"""Diffusion: what was mixed with the clean signal, said by a network that is told how much it was.

Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models" (2020), eq. 14, at the times of a
system's own schedule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from codecbwe_jax.errors import UserError
from codecbwe_jax.objectives.turn import Average, Batch, Context, Params, Report, Turn
from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.systems.base import System

# 2^32 over the golden ratio, odd: consecutive multiples, modulo 2^32, are spread evenly
GOLDEN = 2654435769
DISTANCES = {"l1": jnp.abs, "l2": jnp.square}


@runtime_checkable
class Denoises(Protocol):
    """What this objective asks of a system."""

    def clean(self, batch: Batch) -> jax.Array:
        """The signal without noise, float32 `[batch, ...]`."""

    def condition(self, batch: Batch) -> Any:
        """What the network knows of it, a tree of arrays `[batch, ...]`."""

    def level(self, times: jax.Array) -> Level:
        """How noisy it is at times `[batch]`, from 0, where it is clean, to 1."""

    def estimate(self, params: Params, x: jax.Array, level: Level, condition: Any) -> jax.Array:
        """The noise `[batch, ...]` in the noisy signal x `[batch, ...]`."""


@dataclasses.dataclass(frozen=True)
class DiffusionSettings:
    """`config.objective` of this objective.

    Attributes:
      distance: of the estimated noise from the true: "l1" absolute, "l2" squared difference.
      times: how noisy samples are: "stratified": consecutive samples are spread over all levels,
        "independent": each draws its own.
    """

    distance: Literal["l1", "l2"] = "l1"
    times: Literal["stratified", "independent"] = "stratified"


class Diffusion:
    """The objective. Holds settings only; parameters go in and out of its functions.

    Args:
      system: what is trained.
      settings: `config.objective` as a ConfigDict.

    Raises:
      UserError: if the system does not say noise.
    """

    identity: ClassVar[tuple[str, ...]] = ()
    settings_kind: ClassVar[type] = DiffusionSettings
    generator = "generator"
    averages: Mapping[str, Average] = MappingProxyType({})

    def __init__(self, system: System, settings: Any) -> None:
        if not isinstance(system, Denoises):
            raise UserError(f"config.objective diffusion: {type(system).__name__} says no noise")
        self.system = system
        self.denoises: Denoises = system
        self.times = settings.times
        self.distance = DISTANCES[settings.distance]
        self.turns = (Turn(self.generator, self._loss),)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh parameters of the system: "generator"."""
        return {self.generator: self.system.init(key)}

    def _loss(self, params: Params, batch: Batch, context: Context) -> tuple[jax.Array, Report]:
        clean = self.denoises.clean(batch)
        time_keys, noise_keys = jnp.moveaxis(jax.vmap(jax.random.split)(context.keys), 1, 0)
        if self.times == "stratified":
            times = stratified_times(batch["index"])
        else:
            times = jax.vmap(jax.random.uniform)(time_keys)
        level = self.denoises.level(times)
        noise = jax.vmap(lambda key: jax.random.normal(key, clean.shape[1:]))(noise_keys)
        known = self.denoises.condition(batch)
        said = self.denoises.estimate(params[self.generator], level.mix(clean, noise), level, known)
        loss = jnp.mean(self.distance(said - noise))
        return loss, Report({}, {})


def stratified_times(index: jax.Array) -> jax.Array:
    """Global indices of samples, int32 `[batch]` -> times in [0, 1), float32 `[batch]`.

    The golden ratio's sequence: any consecutive samples are spread nearly evenly. NU-Wave 2 divides
    [0, 1) into as many parts as a batch has items; a loss, which may see a part of a batch, does
    not know an item's place in it, and this is as even.
    """
    place = index.astype(jnp.uint32) * jnp.uint32(GOLDEN)
    # 24 bits are what float32 holds: more would round up to 1
    return (place >> 8).astype(jnp.float32) * 2.0**-24
