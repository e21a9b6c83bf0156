"""Rotary positions (arXiv 2104.09864): places of frames as angles of queries and keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def frequencies(size: int, base: float) -> np.ndarray:
    """By how much each pair of a head's channels turns, in radians a frame: float32
    `[size / 2]`."""
    periods = base ** (np.arange(0, size, 2) / size)
    return np.float32(1) / periods.astype(np.float32)


def rotated(x: jax.Array, base: float) -> jax.Array:
    """Every head turned by its frame's place, channel c with channel c + size / 2.

    Args:
      x: queries or keys, float32 `[B, T, heads, size]`.
      base: the slowest pair turns by nearly 1 / base a frame.

    Returns:
      float32 `[B, T, heads, size]`.
    """
    # rounded to float32 as in the originals: of far places that is no small angle
    places = np.arange(x.shape[1], dtype=np.float32)[:, None, None]
    angle = (places * frequencies(x.shape[-1], base)).astype(np.float64)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
