"""DPM-Solver++: a method of second order that looks back instead of asking twice."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from codecbwe_jax.solvers.items import per_item
from codecbwe_jax.solvers.levels import Denoise, Level, spans


def dpm_solver_2m(denoise: Denoise, x: jax.Array, levels: Level) -> jax.Array:
    """Sample from the first level to the last by DPM-Solver++(2M), with one estimate a step.

    Lu et al., "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models"
    (2022), algorithm 2. A step of it is DDIM's with an extrapolated clean signal. The first, which
    has nothing to look back to, and the last, where the extrapolation is unsteady if steps are few
    and without bound if no noise is left, are DDIM's own; this costs no order.

    Args:
      denoise: noisy `[batch, ...]` and their level -> clean `[batch, ...]`.
      x: noisy, float32 `[batch, ...]`, at the first level.
      levels: from the first to the last; none but the last may be without noise.

    Returns:
      `[batch, ...]` at the last level.
    """

    def step(
        carry: tuple[jax.Array, jax.Array], scanned: tuple[Level, Level, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        x, before = carry
        begin, end, ahead = scanned
        clean = denoise(x, begin)
        beyond = clean + per_item(ahead, x) * (clean - before)
        return (end.mix(beyond, begin.noise_in(x, beyond)), clean), None

    begins, ends = spans(levels, len(x))
    start = x, jnp.zeros_like(x)
    (x, _), _ = jax.lax.scan(step, start, (begins, ends, _extrapolation(begins)))
    return x


def _extrapolation(begins: Level) -> jax.Array:
    """How far beyond the newest clean signal each step looks, in differences to the one before;
    `[steps, batch]`."""
    log_ratios = jnp.log(begins.alpha) - jnp.log(begins.sigma)
    lengths = jnp.diff(log_ratios, axis=0)
    inner = lengths[1:] / (2 * lengths[:-1])
    return jnp.pad(inner, ((1, 1), (0, 0)))[: len(log_ratios)]
