"""Noise levels of a diffusion, and what they say of clean signals and noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.solvers.items import per_item


class Level(NamedTuple):
    """How much noise there is: `x = alpha * clean + sigma * noise`.

    A sampler is given a row of levels, from the noisiest to the last, as one `Level` of arrays
    `[steps + 1]`, or `[steps + 1, batch]` where each item has its own; a network is given one, of
    arrays `[batch]`.

    Attributes:
      time: the level's name for the network.
      alpha: gain of the clean signal.
      sigma: standard deviation of the noise. Both are kept, and not their ratio alone, which near
        pure noise is beyond what float32 can tell.
    """

    time: jax.Array
    alpha: jax.Array
    sigma: jax.Array

    @classmethod
    def of_alpha_bar(cls, time: np.ndarray, alpha_bar: np.ndarray) -> Self:
        """Levels of a table: `alpha^2`, in float64, so that what is left to 1 keeps its digits."""
        return cls(time, *(np.sqrt(p).astype(np.float32) for p in (alpha_bar, 1 - alpha_bar)))

    @classmethod
    def of_log_snr(cls, time: jax.Array, log_snr: jax.Array) -> Self:
        """Levels whose `log(alpha^2 / sigma^2)` is given, of signals that keep their variance
        (Kingma et al., "Variational Diffusion Models" (2021), section 3)."""
        return cls(time, *(jnp.sqrt(jax.nn.sigmoid(s * log_snr)) for s in (1, -1)))

    def mix(self, clean: jax.Array, noise: jax.Array) -> jax.Array:
        """`[batch, ...]` of both -> the noisy signal."""
        return per_item(self.alpha, clean) * clean + per_item(self.sigma, noise) * noise

    def noise_in(self, x: jax.Array, clean: jax.Array) -> jax.Array:
        """What is noise in a noisy signal `[batch, ...]` if its clean one is this."""
        return (x - per_item(self.alpha, x) * clean) / per_item(self.sigma, x)

    def clean_of_noise(self, x: jax.Array, noise: jax.Array) -> jax.Array:
        """The clean signal in a noisy one `[batch, ...]` if its noise is this."""
        return (x - per_item(self.sigma, x) * noise) / per_item(self.alpha, x)

    def clean_of_velocity(self, x: jax.Array, velocity: jax.Array) -> jax.Array:
        """The clean signal in a noisy one `[batch, ...]` if `alpha * noise - sigma * clean` is this
        and `alpha^2 + sigma^2 = 1` (Salimans, Ho, "Progressive Distillation for Fast Sampling of
        Diffusion Models" (2022), section 4)."""
        return per_item(self.alpha, x) * x - per_item(self.sigma, x) * velocity


Denoise = Callable[[jax.Array, Level], jax.Array]


def spans(levels: Level, batch: int) -> tuple[Level, Level]:
    """Where each step begins and where it ends: levels of arrays `[steps, batch]`."""

    def each(values: jax.Array) -> jax.Array:
        values = jnp.asarray(values)
        one_for_all = values[:, None] if values.ndim == 1 else values
        return jnp.broadcast_to(one_for_all, (len(values), batch))

    wide = jax.tree.map(each, levels)
    return jax.tree.map(lambda v: v[:-1], wide), jax.tree.map(lambda v: v[1:], wide)
