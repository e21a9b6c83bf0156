"""Figures of a system that follow from its settings alone."""

from __future__ import annotations

import dataclasses

import jax

from codecbwe_jax.systems.base import System


@dataclasses.dataclass(frozen=True)
class Facts:
    """Attributes: parameters; macs_per_second (multiply-adds per second of output, from the
    traced program's floating-point operations); receptive_field_ms on each side and delay_ms."""

    parameters: int
    macs_per_second: float
    receptive_field_ms: float
    delay_ms: float


def facts(system: System) -> Facts:
    """Count a system's parameters and operations without computing anything."""
    key = jax.random.key(0)
    shapes = jax.eval_shape(system.init, key)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    if system.takes == "tokens":
        second = jax.ShapeDtypeStruct((1, system.token_rate), "int32")
    else:
        second = jax.ShapeDtypeStruct((1, system.input_rate), "float32")
    analysis = jax.jit(system.extend).lower(shapes, second, key).cost_analysis()
    return Facts(
        parameters,
        float(analysis["flops"]) / 2,
        1000 * system.receptive_field / system.input_rate,
        1000 * system.delay / system.input_rate,
    )
