"""Explicit Runge-Kutta methods on a given grid: what samples from a flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from codecbwe_jax.solvers.items import per_item

Field = Callable[[jax.Array, jax.Array], jax.Array]


class Tableau(NamedTuple):
    """A method as Butcher writes it: Hairer, Nørsett, Wanner, "Solving Ordinary Differential
    Equations I" (1993), II.1.

    Attributes:
      stages: for each slope the weights of those before it, which lead to where it is taken.
      weights: of the slopes in the step.
    """

    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


# "rk4" is Kutta's 3/8 rule, not the classical method: torchdiffeq's fixed-grid solver of that name.
METHODS = {
    "euler": Tableau(((),), (1,)),
    "midpoint": Tableau(((), (1 / 2,)), (0, 1)),
    "heun": Tableau(((), (1,)), (1 / 2, 1 / 2)),
    "rk4": Tableau(((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)), (1 / 8, 3 / 8, 3 / 8, 1 / 8)),
}


def solve(field: Field, x: jax.Array, times: jax.Array, method: str = "midpoint") -> jax.Array:
    """Follow `dx/dt = field(x, t)` from the first time to the last.

    Args:
      field: `[batch, ...]` and times `[batch]` -> slopes `[batch, ...]`.
      x: where it begins, float32 `[batch, ...]`.
      times: `[steps + 1]`, or `[steps + 1, batch]` where each item has its own; rising or falling.
      method: a name in `METHODS`.

    Returns:
      Where it ends, `[batch, ...]`.

    Raises:
      KeyError: on another name.
    """
    tableau = METHODS[method]

    def step(x: jax.Array, span: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        begin, end = (jnp.broadcast_to(t, x.shape[:1]) for t in span)
        return _step(tableau, field, x, begin, end - begin), None

    return jax.lax.scan(step, x, (times[:-1], times[1:]))[0]


def _step(
    tableau: Tableau, field: Field, x: jax.Array, begin: jax.Array, length: jax.Array
) -> jax.Array:
    slopes: list[jax.Array] = []
    for stage in tableau.stages:
        at = x + per_item(length, x) * _sum(stage, slopes) if stage else x
        slopes.append(field(at, begin + sum(stage) * length))
    return x + per_item(length, x) * _sum(tableau.weights, slopes)


def _sum(weights: Sequence[float], slopes: Sequence[jax.Array]) -> jax.Array:
    return sum(w * slope for w, slope in zip(weights, slopes, strict=True) if w)
