"""A loss on what a codec quantises."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def code_spread(projected: jax.Array) -> jax.Array:
    """Distance of the quantised features from mean 0 and covariance 1: every dimension carries
    something of its own, and all levels are used.

    Without it the dimensions of a codec that is trained from scratch soon carry one direction and
    saturate. In the manner of VICReg (arXiv 2105.04906 eq. 3).

    Args:
      projected: `[B, T, dims]`, before any bound.

    Returns:
      float32 scalar, 0 at best; over the items that are given, so a batch divided over devices has
      the mean of their values.
    """
    z = projected.reshape(-1, projected.shape[-1]).astype(jnp.float32)
    mean = jnp.mean(z, axis=0)
    covariance = (z - mean).T @ (z - mean) / z.shape[0]
    identity = jnp.eye(z.shape[-1])
    return jnp.sum(jnp.square(covariance - identity)) + jnp.sum(jnp.square(mean))
