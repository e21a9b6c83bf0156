"""Distances between waveforms."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def waveform_l1(target: jax.Array, predicted: jax.Array) -> jax.Array:
    """Mean absolute difference."""
    return jnp.mean(jnp.abs(target - predicted))


def si_sdr(
    target: jax.Array, predicted: jax.Array, zero_mean: bool = False, eps: float = 1e-8
) -> jax.Array:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019).

    Args:
      target, predicted: waveforms `[B, samples]`.
      zero_mean: remove the mean of both first.
      eps: added to every power.

    Returns:
      `[B]`.
    """
    if zero_mean:
        target, predicted = (x - jnp.mean(x, -1, keepdims=True) for x in (target, predicted))
    scale = (jnp.sum(target * predicted, -1) + eps) / (jnp.sum(target**2, -1) + eps)
    scaled = scale[..., None] * target
    ratio = jnp.sum(scaled**2, -1) / (jnp.sum((predicted - scaled) ** 2, -1) + eps)
    return 10 * jnp.log10(ratio + eps)
