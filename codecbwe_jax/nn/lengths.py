"""Items of several lengths in one array, so that each gives what it gives alone.

`lengths` are the valid frames of each item, int `[B]`, or None if all frames are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def mask_of(lengths: jax.Array | None, frames: int) -> jax.Array | None:
    """bool `[B, frames]`, True where an item has frames; None if all do."""
    return None if lengths is None else jnp.arange(frames) < lengths[:, None]


def zero_after(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """`[B, T, ...]` with zeros after each item's end: what a convolution's padding would be."""
    mask = mask_of(lengths, x.shape[1])
    return x if mask is None else jnp.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), x, 0)


def last_of(x: jax.Array, lengths: jax.Array, count: int) -> jax.Array:
    """Each item's last valid frames, `[B, T, C]` -> `[B, count, C]`; an item with fewer repeats
    its first."""
    places = jnp.maximum(lengths[:, None] - count + jnp.arange(count), 0)
    return jnp.take_along_axis(x, places[..., None], axis=1)


def fill_after(x: jax.Array, lengths: jax.Array, value: jax.Array) -> jax.Array:
    """`[B, T, C]` with a frame `[B, 1, C]` repeated after each item's end."""
    return jnp.where(mask_of(lengths, x.shape[1])[..., None], x, value)
