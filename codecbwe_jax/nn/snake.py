"""Snake activations, anti-aliased as in BigVGAN (arXiv 2206.04658) and BigCodec."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.nn.lengths import fill_after, last_of

TAPS = 12


@functools.cache
def kaiser_sinc_taps() -> np.ndarray:
    """The 12-tap Kaiser-windowed sinc that both resamplings by two use, float32, sum 1.

    Cutoff 0.25 of the double rate, half width 0.3 (zhenye234/X-Codec-2.0 vq/alias_free_torch).
    """
    attenuation = 2.285 * (TAPS // 2 - 1) * np.pi * (4 * 0.3) + 7.95  # just above 50
    window = np.kaiser(TAPS, 0.1102 * (attenuation - 8.7))
    taps = window * np.sinc(0.5 * (np.arange(TAPS) - (TAPS - 1) / 2))
    return (taps / taps.sum()).astype(np.float32)


def upsample_by_two(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Double the rate of `[B, T, C]`, ends repeated.

    Returns:
      The even and the odd samples, `[B, T, C]` each. They are never interleaved: what follows
      is elementwise, and `downsample_by_two` takes them apart as they are.
    """
    taps, frames = 2 * kaiser_sinc_taps(), x.shape[1]
    x = jnp.pad(x, ((0, 0), (3, 3), (0, 0)), mode="edge")
    even = sum(x[:, j : j + frames] * taps[11 - 2 * j].astype(x.dtype) for j in range(6))
    odd = sum(x[:, j + 1 : j + 1 + frames] * taps[10 - 2 * j].astype(x.dtype) for j in range(6))
    return even, odd


def downsample_by_two(even: jax.Array, odd: jax.Array) -> jax.Array:
    """Even and odd samples `[B, T, C]` of the double rate -> `[B, T, C]`, ends repeated."""
    taps, frames = kaiser_sinc_taps(), even.shape[1]
    first, last = even[:, :1], odd[:, -1:]
    even = jnp.concatenate([first, first, even, last, last, last], axis=1)
    odd = jnp.concatenate([first, first, first, odd, last, last], axis=1)
    low = sum(even[:, j : j + frames] * taps[2 * j + 1].astype(even.dtype) for j in range(6))
    return low + sum(odd[:, j : j + frames] * taps[2 * j].astype(odd.dtype) for j in range(6))


def snake_beta(x: jax.Array, alpha: jax.Array, beta: jax.Array) -> jax.Array:
    """`x + sin^2(exp(alpha) x) / (exp(beta) + 1e-9)` with logarithmic alpha and beta `[C]`."""
    alpha, beta = jnp.exp(alpha), 1.0 / (jnp.exp(beta) + 1e-9)
    return x + beta.astype(x.dtype) * jnp.square(jnp.sin(x * alpha.astype(x.dtype)))


class AntiAliasedSnake(nn.Module):
    """SnakeBeta at the double rate between two half-band filters: `[B, T, C]` -> `[B, T, C]`.

    With `lengths` (see `nn.lengths`) the end that is repeated is each item's own.
    """

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        alpha = self.param("alpha", nn.initializers.zeros, (x.shape[-1],))
        beta = self.param("beta", nn.initializers.zeros, (x.shape[-1],))
        even, odd = upsample_by_two(fill_after(x, lengths, last_of(x, lengths)))
        even, odd = snake_beta(even, alpha, beta), snake_beta(odd, alpha, beta)
        last = last_of(odd, lengths)
        return downsample_by_two(fill_after(even, lengths, last), fill_after(odd, lengths, last))
