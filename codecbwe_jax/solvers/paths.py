"""Probability paths: from noise, and perhaps from what is known, to data, along a straight line."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from codecbwe_jax.solvers.items import per_item

Share = float | jax.Array


class Path(NamedTuple):
    """Where a flow leads: `x_t = t * clean + (1 - t) * informed * prior + deviation(t) * noise`.

    The deviation goes straight from the first to the last, so that the field to be learnt,
    `velocity`, does not depend on t. Numbers, or arrays that broadcast against the data.

    Lipman et al., "Flow Matching for Generative Modeling" (2023), eq. 22; with a prior: Tong et
    al., "Improving and Generalizing Flow-Based Generative Models" (2024), section 3.2.

    Attributes:
      informed: gain of the prior where the path begins; 0: it begins in noise alone.
      first, last: standard deviation of the noise at t = 0 and at t = 1.
    """

    informed: Share
    first: Share
    last: Share

    def mix(self, clean: jax.Array, prior: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
        """Where the path is at times t `[batch]`; all else `[batch, ...]`."""
        t = per_item(t, clean)
        deviation = (1 - t) * self.first + t * self.last
        return t * clean + (1 - t) * self.informed * prior + deviation * noise

    def velocity(self, clean: jax.Array, prior: jax.Array, noise: jax.Array) -> jax.Array:
        """Its derivative by t, at all times."""
        return clean - self.informed * prior + (self.last - self.first) * noise

    def start(self, prior: jax.Array, noise: jax.Array) -> jax.Array:
        """Where a sampler begins."""
        return self.informed * prior + self.first * noise

    def where(self, known: jax.Array, other: Path) -> Path:
        """This path where `known` (bool, broadcast against the data), another elsewhere."""
        return Path(*(jnp.where(known, *pair) for pair in zip(self, other, strict=True)))


def basic(sigma: float) -> Path:
    """From noise alone; `sigma` of it is left at the end."""
    return Path(0.0, 1.0, sigma)


def adaptive(sigma: float) -> Path:
    """From the prior in as much noise, which falls to `sigma`."""
    return Path(1.0, 1.0, sigma)


def constant(sigma: float) -> Path:
    """From the prior, in little noise that stays as it is."""
    return Path(1.0, sigma, sigma)
