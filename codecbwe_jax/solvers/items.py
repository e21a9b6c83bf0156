"""Numbers of items beside arrays of items."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def per_item(numbers: jax.Array, x: jax.Array) -> jax.Array:
    """Numbers `[batch]`, or one for all, in the shape that goes with `x` `[batch, ...]`."""
    return jnp.reshape(numbers, (-1,) + (1,) * (x.ndim - 1))
