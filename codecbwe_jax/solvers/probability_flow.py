"""A diffusion as a flow, which `ode.solve` follows."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from codecbwe_jax.solvers.levels import Denoise, Level
from codecbwe_jax.solvers.ode import Field


def probability_flow(denoise: Denoise, level_at: Callable[[jax.Array], Level]) -> Field:
    """`dx/dt = dalpha/dt * clean + dsigma/dt * noise`, for `ode.solve`.

    Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations" (2021),
    eq. 13, of which this is another writing, for any alpha and sigma.

    Args:
      denoise: noisy `[batch, ...]` and their level -> clean `[batch, ...]`.
      level_at: times `[batch]` -> their levels, none of them without noise where it is asked.
    """

    def field(x: jax.Array, t: jax.Array) -> jax.Array:
        level, change = jax.jvp(level_at, (t,), (jnp.ones_like(t),))
        clean = denoise(x, level)
        return change.mix(clean, level.noise_in(x, clean))

    return field
