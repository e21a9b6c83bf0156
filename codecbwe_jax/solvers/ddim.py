"""DDIM: steps between noise levels, with or without fresh noise."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from codecbwe_jax.solvers.items import per_item
from codecbwe_jax.solvers.levels import Denoise, Level, spans

Noise = Callable[[jax.Array], jax.Array]


def ddim(
    denoise: Denoise, x: jax.Array, levels: Level, eta: float = 0.0, noise: Noise | None = None
) -> jax.Array:
    """Sample from the first level to the last.

    Song, Meng, Ermon, "Denoising Diffusion Implicit Models" (2021), eq. 12 and 16, whose alpha is
    `alpha^2` here; written so that any alpha and sigma may be given, not those alone whose squares
    sum to 1.

    Args:
      denoise: noisy `[batch, ...]` and their level -> clean `[batch, ...]`.
      x: noisy, float32 `[batch, ...]`, at the first level.
      levels: from the first to the last; none but the last may be without noise.
      eta: 0: nothing is drawn; 1: as much as an ancestral sampler draws, DDPM's.
      noise: number of a step, int32 from 0 -> standard normal `[batch, ...]`, made of keys, and of
        places in the whole where x is a piece of one. Only eta asks for it.

    Returns:
      `[batch, ...]` at the last level.

    Raises:
      ValueError: if there is eta but no noise.
    """
    if eta and noise is None:
        raise ValueError(f"eta {eta} draws noise, and none is given")

    def step(x: jax.Array, scanned: tuple[Level, Level, jax.Array]) -> tuple[jax.Array, None]:
        begin, end, number = scanned
        clean = denoise(x, begin)
        within = begin.noise_in(x, clean)
        if eta:
            share = per_item(eta**2 * fresh_share(begin, end), x)
            within = jnp.sqrt(1 - share) * within + jnp.sqrt(share) * noise(number)
        return end.mix(clean, within), None

    begins, ends = spans(levels, len(x))
    return jax.lax.scan(step, x, (begins, ends, jnp.arange(len(begins.time))))[0]


def fresh_share(begin: Level, end: Level) -> jax.Array:
    """Share of the noise's variance that an ancestral step draws anew: `1 - SNR / SNR'`, `[batch]`
    (Kingma et al., "Variational Diffusion Models" (2021), appendix A)."""
    return 1 - jnp.square(begin.alpha * end.sigma / (begin.sigma * end.alpha))
