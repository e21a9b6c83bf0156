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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def correlate(x: jax.Array, taps: tuple[float, ...]) -> jax.Array:
    """`[B, T + taps - 1, C]` -> `[B, T, C]`: every channel with the same taps.

    A sum of shifts, as its gradient is: XLA's own would pad and add once for every tap.
    """
    frames = x.shape[1] - len(taps) + 1
    terms = [x[:, k : k + frames] * jnp.asarray(tap, x.dtype) for k, tap in enumerate(taps)]
    return sum(terms[1:], terms[0])


def _correlate_forward(x: jax.Array, taps: tuple[float, ...]) -> tuple[jax.Array, None]:
    return correlate(x, taps), None


def _correlate_backward(taps: tuple[float, ...], _: None, dy: jax.Array) -> tuple[jax.Array]:
    side = len(taps) - 1
    return (correlate(jnp.pad(dy, ((0, 0), (side, side), (0, 0))), taps[::-1]),)


correlate.defvjp(_correlate_forward, _correlate_backward)


def upsample_by_two(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Double the rate of `[B, T, C]`, ends repeated.

    Returns:
      The even and the odd samples, `[B, T, C]` each. They are never interleaved: what follows
      is elementwise, and `downsample_by_two` takes them apart as they are.
    """
    taps = 2 * kaiser_sinc_taps()
    x = jnp.pad(x, ((0, 0), (3, 3), (0, 0)), mode="edge")
    return correlate(x[:, :-1], tuple(taps[11::-2])), correlate(x[:, 1:], tuple(taps[10::-2]))


def downsample_by_two(even: jax.Array, odd: jax.Array) -> jax.Array:
    """Even and odd samples `[B, T, C]` of the double rate -> `[B, T, C]`, ends repeated."""
    taps = kaiser_sinc_taps()
    first, last = even[:, :1], odd[:, -1:]
    even = jnp.concatenate([first, first, even, last, last, last], axis=1)
    odd = jnp.concatenate([first, first, first, odd, last, last], axis=1)
    # Without the barrier XLA fuses what came before into every one of the twelve taps and computes
    # it twelve times over.
    even, odd = jax.lax.optimization_barrier((even, odd))
    return correlate(even, tuple(taps[1::2])) + correlate(odd, tuple(taps[0::2]))


def snake_beta(x: jax.Array, alpha: jax.Array, beta: jax.Array) -> jax.Array:
    """`x + sin^2(exp(alpha) x) / (exp(beta) + 1e-9)` with logarithmic alpha and beta `[C]`."""
    alpha, beta = jnp.exp(alpha), 1.0 / (jnp.exp(beta) + 1e-9)
    return x + beta.astype(x.dtype) * jnp.square(jnp.sin(x * alpha.astype(x.dtype)))


class Snake(nn.Module):
    """`x + sin^2(alpha x) / (alpha + 1e-9)` with one alpha for each channel, `[B, T, C]` (arXiv
    2006.08195)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        alpha = self.param("alpha", nn.initializers.ones, (x.shape[-1],))
        return x + jnp.square(jnp.sin(alpha * x)) / (alpha + 1e-9)


class AntiAliasedSnake(nn.Module):
    """SnakeBeta at the double rate between two half-band filters: `[B, T, C]` -> `[B, T, C]`.

    With `lengths` (see `nn.lengths`) the end that is repeated is each item's own.
    """

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        alpha = self.param("alpha", nn.initializers.zeros, (x.shape[-1],))
        beta = self.param("beta", nn.initializers.zeros, (x.shape[-1],))
        if lengths is None:
            even, odd = (snake_beta(x, alpha, beta) for x in upsample_by_two(x))
            return downsample_by_two(even, odd)
        # The last sample of the double rate is computed by itself, from the frames that it sees:
        # taken out of `odd` it would cost another pass over all of it.
        near = last_of(x, lengths, 3)
        last = snake_beta(upsample_by_two(near)[1][:, -1:], alpha, beta)
        even, odd = upsample_by_two(fill_after(x, lengths, near[:, -1:]))
        return downsample_by_two(
            fill_after(snake_beta(even, alpha, beta), lengths, last),
            fill_after(snake_beta(odd, alpha, beta), lengths, last),
        )
