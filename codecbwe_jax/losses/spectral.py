"""AP-BWE's losses on log-amplitudes, phases and complex spectra (train/train_48k.py).

Spectra are `[B, T, bins]`, channels last: bins vary along the last axis, frames before it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def amplitude_mse(target: jax.Array, predicted: jax.Array) -> jax.Array:
    """Mean squared difference of natural log-amplitudes."""
    return jnp.mean(jnp.square(target - predicted))


def anti_wrap(x: jax.Array) -> jax.Array:
    """Distance to the nearest multiple of 2 pi: |x - 2 pi round(x / 2 pi)|, half to even.

    The rounding has no gradient, so the gradient is +-1 throughout.
    """
    turns = jax.lax.stop_gradient(jnp.round(x / (2 * jnp.pi)))
    return jnp.abs(x - 2 * jnp.pi * turns)


def phase_losses(target: jax.Array, predicted: jax.Array) -> dict[str, jax.Array]:
    """Anti-wrapped phase errors (AP-BWE eq. 12-14).

    Returns:
      "instantaneous_phase", "group_delay" (differences along bins) and "angular_frequency"
      (differences along frames); the boundary elements of the differences are left out.
    """

    def mean_error(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.mean(anti_wrap(a - b))

    def along(axis: int) -> jax.Array:
        return mean_error(jnp.diff(target, axis=axis), jnp.diff(predicted, axis=axis))

    return {
        "instantaneous_phase": mean_error(target, predicted),
        "group_delay": along(-1),
        "angular_frequency": along(-2),
    }


def complex_mse(target: jax.Array, predicted: jax.Array) -> jax.Array:
    """Mean over real and imaginary parts of the squared difference of complex spectra."""
    difference = target - predicted
    return 0.5 * jnp.mean(jnp.square(difference.real) + jnp.square(difference.imag))
