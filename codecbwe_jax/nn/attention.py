"""Attention between frames, each network bringing its own projections and positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """`softmax((q . k + bias) * scale) v`, over all frames; the softmax is float32.

    Args:
      q, k, v: `[B, T, heads, size]`.
      mask: bool `[B, T]`, False for frames that are not looked at; None: all are.
      bias: float32 `[B, heads, T, T]` (query, key), added before the scaling.
      scale: of the logits; None: 1 / sqrt(size).

    Returns:
      `[B, T, heads, size]` in the type of v.
    """
    logits = jnp.einsum("bihd,bjhd->bhij", q, k, preferred_element_type=jnp.float32)
    if bias is not None:
        logits = logits + bias
    logits = logits / np.sqrt(q.shape[-1]) if scale is None else logits * scale
    if mask is not None:
        logits = jnp.where(mask[:, None, None, :], logits, jnp.finfo(jnp.float32).min)
    return jnp.einsum("bhij,bjhd->bihd", jax.nn.softmax(logits).astype(v.dtype), v)
