"""A diffusion of a normal distribution, of which everything is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.solvers.items import per_item
from codecbwe_jax.solvers.levels import Denoise, Level

MEAN = 0.7


def denoiser(deviation: float) -> Denoise:
    """The mean of what is clean, given what is noisy: normal, with this mean and deviation."""

    def denoise(x: jax.Array, level: Level) -> jax.Array:
        alpha, sigma = per_item(level.alpha, x), per_item(level.sigma, x)
        trust = alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)
        return MEAN + trust * (x - alpha * MEAN)

    return denoise


def flowed(x: jax.Array, deviation: float, begin: Level, end: Level) -> jax.Array:
    """Where the probability flow leads: as far from the mean, in deviations."""
    before, after = (jnp.hypot(level.alpha * deviation, level.sigma) for level in (begin, end))
    return end.alpha * MEAN + after / before * (x - begin.alpha * MEAN)


def circle(steps: int, first: float = 1.4, last: float = 0.0) -> Level:
    """Levels evenly spaced in their angle; `alpha = cos`, `sigma = sin`."""
    angles = np.linspace(first, last, steps + 1)
    return Level(angles, np.cos(angles), np.sin(angles))


def one(levels: Level, index: int) -> Level:
    return Level(*(values[index] for values in levels))
