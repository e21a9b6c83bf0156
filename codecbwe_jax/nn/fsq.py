"""Finite scalar quantisation (arXiv 2309.15505), as ResidualFSQ with one quantiser calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.nn.init import torch_uniform
from codecbwe_jax.weights.rules import Rule

MARGIN = 1e-3


def bound(z: jax.Array, levels: Sequence[int]) -> jax.Array:
    """Squash `[..., dims]` into the range of the levels: `tanh(z + shift) * half - offset`.

    Even levels are centred on -0.5. The vocabulary of vector-quantize-pytorch 1.17.8.
    """
    sizes = np.asarray(levels, np.float64)
    half = (sizes - 1) * (1 + MARGIN) / 2
    offset = np.where(sizes % 2 == 0, 0.5, 0.0)
    shift = np.arctanh(offset / half)
    half, offset, shift = (jnp.asarray(a, jnp.float32) for a in (half, offset, shift))
    return jnp.tanh(z + shift) * half - offset


def quantise(z: jax.Array, levels: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """Round projected features to codes, with a straight-through gradient.

    The bound is applied twice: ResidualFSQ bounds its input, and the quantiser in it bounds
    again. One bound gives other tokens.

    Args:
      z: float32 `[..., dims]`.
      levels: levels of each dimension.

    Returns:
      (codes float32 `[..., dims]` in [-1, 1], indices int32 `[...]`; the first dimension is
      least significant).
    """
    half_width = np.asarray(levels) // 2
    bounded = bound(bound(z, levels), levels)
    rounded = jnp.round(bounded)
    through = bounded + jax.lax.stop_gradient(rounded - bounded)
    digits = rounded.astype(jnp.int32) + half_width.astype(np.int32)
    return through / half_width, jnp.sum(digits * basis(levels), axis=-1, dtype=jnp.int32)


def codes_of(indices: jax.Array, levels: Sequence[int]) -> jax.Array:
    """Indices `[...]` -> codes float32 `[..., dims]` in [-1, 1]."""
    sizes = np.asarray(levels, np.int32)
    digits = (indices[..., None] // basis(levels)) % sizes
    return (digits - sizes // 2) / (sizes // 2).astype(np.float32)


def basis(levels: Sequence[int]) -> np.ndarray:
    """What a step of each dimension adds to an index, int32 `[dims]`."""
    return np.cumprod([1, *levels[:-1]]).astype(np.int32)


class Quantiser(nn.Module):
    """Projection to the code dimensions, FSQ, projection back; float32 throughout.

    Attributes:
      levels: of each code dimension.
      features: width of input and output.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (Rule("{project}", "{project}", "dense"),)

    levels: Sequence[int]
    features: int

    def setup(self) -> None:
        dims = len(self.levels)
        inward, outward = torch_uniform(self.features), torch_uniform(dims)
        highest = jax.lax.Precision.HIGHEST
        self.project_in = nn.Dense(dims, kernel_init=inward, bias_init=inward, precision=highest)
        self.project_out = nn.Dense(self.features, kernel_init=outward, bias_init=outward)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`[B, T, features]` -> (latents `[B, T, features]`, indices int32 `[B, T]`).

        What is quantised, `[B, T, dims]`, is sown as "projected" in the collection "features".
        """
        projected = self.project_in(x.astype(jnp.float32))
        self.sow("features", "projected", projected)
        codes, indices = quantise(projected, self.levels)
        return self.project_out(codes), indices

    def latents(self, indices: jax.Array) -> jax.Array:
        """Indices `[B, T]` -> latents `[B, T, features]`."""
        return self.project_out(codes_of(indices, self.levels))
