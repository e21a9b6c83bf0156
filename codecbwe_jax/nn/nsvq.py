"""Vector quantisation trained by noise substitution (NSVQ)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

EPS = 1e-12


def nearest(x: jax.Array, codebook: jax.Array) -> jax.Array:
    """Index of the nearest code of `[K, D]` to each of `[..., D]`: int32 `[...]`."""
    cross = jnp.matmul(x, codebook.T, precision=jax.lax.Precision.HIGHEST)
    squared = jnp.sum(jnp.square(codebook), axis=-1) - 2 * cross
    return jnp.argmin(squared, axis=-1).astype(jnp.int32)


def substitute(x: jax.Array, codes: jax.Array, noise: jax.Array) -> jax.Array:
    """`x + |x - codes| / |noise| * noise`: an error of the right size and any direction, through
    which both x and the codes get a gradient.

    Vali, Bäckström, "NSVQ: Noise Substitution in Vector Quantization", IEEE Access 10 (2022);
    MHVali/Noise-Substitution-in-Vector-Quantization NSVQ.py.

    Args:
      x, codes, noise: `[..., D]`; noise is standard normal.
    """
    length = _norm(x - codes)
    return x + length / _norm(noise) * noise + EPS


def _norm(x: jax.Array) -> jax.Array:
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    empty = squared == 0  # the root has no finite slope there
    return jnp.where(empty, 0.0, jnp.sqrt(jnp.where(empty, 1.0, squared)))


def codes_used(indices: jax.Array, codes: int) -> jax.Array:
    """1 for each code that a batch used, however often, else 0: float32 `[codes]`.

    Args:
      indices: of the codes that it used, of any shape.
      codes: how many there are.
    """
    return jnp.zeros(codes).at[indices.ravel()].set(1.0)


def replace_unused(
    codebook: jax.Array,
    counts: jax.Array,
    batches: jax.Array | int,
    key: jax.Array,
    least: float = 0.01,
) -> jax.Array:
    """A codebook `[K, D]` in which codes that too few batches used become copies of used ones, a
    little moved.

    Args:
      codebook: `[K, D]`.
      counts: how many batches used each code, `[K]`.
      batches: how many there were.
      key: random key.
      least: share of the batches.
    """
    pick_key, noise_key = jax.random.split(key)
    used = counts / batches >= least
    weights = jnp.where(jnp.any(used), used, True).astype(jnp.float32)
    picks = jax.random.categorical(pick_key, jnp.log(weights), shape=(len(codebook),))
    moved = codebook[picks] + EPS * jax.random.normal(noise_key, codebook.shape)
    return jnp.where(used[:, None], codebook, moved)


class Nsvq(nn.Module):
    """`[B, ..., D]` -> the same: the nearest code, or in training the input with an error of that
    size. In training it is given a variable "keys" of the collection "noise": one random key for
    each item, `[B]`.

    Attributes:
      codes: how many.
    """

    codes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.codes, x.shape[-1])
        codebook = self.param("codebooks", nn.initializers.normal(1.0), shape)
        indices = nearest(x, codebook)
        self.sow("codes", "indices", indices)
        chosen = jnp.take(codebook, indices, axis=0)
        if not self.has_variable("noise", "keys"):
            return chosen
        keys = self.get_variable("noise", "keys")
        noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
        return substitute(x, chosen, noise)
