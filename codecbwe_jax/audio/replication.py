"""Replication: the band above what is known, filled with the last that is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from codecbwe_jax.audio.splice import join_bins


def replicate_above(mel: jax.Array, cut: jax.Array) -> jax.Array:
    """Give every mel bin from the cut on the value of the cut's own, frame by frame.

    NVSR's "padding" (haoheliu/ssr_eval examples/NVSR main.py): nothing is learnt or blended, and a
    vocoder makes a plausible band of it. Its cut is `energy_cut` of linear mels with a share of
    0.97, one for a clip; where the band is known, its edge is the better cut.

    Args:
      mel: linear mel magnitudes `[B, T, mels]`.
      cut: int32 `[B]`, a bin.

    Returns:
      `[B, T, mels]`.
    """
    return join_bins(mel, jnp.take_along_axis(mel, cut[:, None, None], axis=-1), cut)
