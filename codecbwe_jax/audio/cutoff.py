"""Where a spectrum's known band ends, told by its levels."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def energy_cut(magnitudes: jax.Array, share: float) -> jax.Array:
    """The last bin up to which, itself counted, a clip holds less than a share of its magnitude.

    FLowHigh (resemble-ai/flowhigh postprocessing.py, cfm_superresolution.py), NVSR and AudioSR
    find a band's edge so, with shares from 0.97 to 0.9995. All frames count together, and a few
    that hold something above the band move it: where the edge is known, it is the better cut.

    Args:
      magnitudes: of bins or mels, not negative, float32 `[..., frames, bins]`.
      share: of the sum over all frames and bins, in [0, 1].

    Returns:
      int32 `[...]`; 0 if there is no such bin.
    """
    sums = jnp.cumsum(jnp.sum(magnitudes, axis=-2), axis=-1)
    below = sums < share * sums[..., -1:]
    return jnp.max(jnp.where(below, jnp.arange(sums.shape[-1]), 0), axis=-1).astype(jnp.int32)


def bins_below(cut: int | jax.Array, bins: int) -> jax.Array:
    """bool `[..., 1, bins]`, True below the cut (int, or int `[...]`): goes with spectra
    `[..., frames, bins]`."""
    return jnp.arange(bins) < jnp.asarray(cut)[..., None, None]
