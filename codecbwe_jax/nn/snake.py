"""Snake activations, anti-aliased as in BigVGAN (arXiv 2206.04658) and BigCodec."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.nn.lengths import fill_after, last_of

# Taps of a filter for each sample of the rate that it brings up or down.
TAPS_PER_RATIO = 6


@functools.cache
def kaiser_sinc_taps(ratio: int = 2) -> np.ndarray:
    """The Kaiser-windowed sinc that both resamplings by a ratio use: 6 taps for each of its
    phases, float32, sum 1.

    Cutoff 0.5 / ratio of the higher rate, half width 0.6 / ratio (zhenye234/X-Codec-2.0
    vq/alias_free_torch, NVIDIA/BigVGAN alias_free_activation).
    """
    taps = TAPS_PER_RATIO * ratio
    attenuation = 2.285 * (taps // 2 - 1) * np.pi * (4 * 0.6 / ratio) + 7.95  # above 50
    window = np.kaiser(taps, 0.1102 * (attenuation - 8.7))
    sinc = window * np.sinc((np.arange(taps) - (taps - 1) / 2) / ratio)
    return (sinc / sinc.sum()).astype(np.float32)


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


def upsample(x: jax.Array, ratio: int = 2) -> tuple[jax.Array, ...]:
    """Multiply the rate of `[B, T, C]`, ends repeated.

    Returns:
      The samples of each phase, `ratio` times `[B, T, C]`. They are never interleaved: what
      follows is elementwise, and `downsample` takes them apart as they are.
    """
    taps = ratio * kaiser_sinc_taps(ratio)
    centre = (len(taps) - ratio) // 2
    side = TAPS_PER_RATIO // 2
    x_padded = jnp.pad(x, ((0, 0), (side, side), (0, 0)), mode="edge")
    phases = []
    for phase in range(ratio):
        # the latest tap that meets this phase looks `back` frames back
        last = max(k for k in range(len(taps)) if (k - phase - centre) % ratio == 0)
        back = (last - phase - centre) // ratio
        begin, width = side - back, x.shape[1] + TAPS_PER_RATIO - 1
        phases.append(correlate(x_padded[:, begin : begin + width], tuple(taps[last::-ratio])))
    return tuple(phases)


def downsample(phases: tuple[jax.Array, ...]) -> jax.Array:
    """Phases `[B, T, C]` of a multiple of the rate -> `[B, T, C]`, ends repeated."""
    ratio = len(phases)
    taps = kaiser_sinc_taps(ratio)
    left = len(taps) // 2 - 1 + len(taps) % 2
    first, last = phases[0][:, :1], phases[-1][:, -1:]
    padded, filters = [], []
    for phase, x in enumerate(phases):
        tap = min(k for k in range(ratio) if (k - left - phase) % ratio == 0)
        before = (left + phase - tap) // ratio
        after = TAPS_PER_RATIO - 1 - before
        padded.append(jnp.concatenate([first] * before + [x] + [last] * after, axis=1))
        filters.append(tuple(taps[tap::ratio]))
    # Without the barrier XLA fuses what came before into every one of the taps and computes it
    # as many times over.
    padded = jax.lax.optimization_barrier(tuple(padded))
    terms = [correlate(x, f) for x, f in zip(padded, filters, strict=True)]
    return sum(terms[1:], terms[0])


def snake(x: jax.Array, alpha: jax.Array, beta: jax.Array) -> jax.Array:
    """`x + sin^2(alpha x) / (beta + 1e-9)` with alpha and beta `[C]` (arXiv 2006.08195; SnakeBeta
    of arXiv 2206.04658)."""
    inverse = (1.0 / (beta + 1e-9)).astype(x.dtype)
    return x + inverse * jnp.square(jnp.sin(x * alpha.astype(x.dtype)))


class Snake(nn.Module):
    """`snake` with one alpha for each channel, which is beta too: `[B, T, C]` -> `[B, T, C]`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        alpha = self.param("alpha", nn.initializers.ones, (x.shape[-1],))
        return snake(x, alpha, alpha)


class AntiAliasedSnake(nn.Module):
    """`snake` at a multiple of the rate, between two filters: `[B, T, C]` -> `[B, T, C]`.

    With `lengths` (see `nn.lengths`) the end that is repeated is each item's own.

    Attributes:
      has_beta: beta is a parameter of its own (SnakeBeta).
      logarithmic: parameters are logarithms.
      ratio: of the two rates.
    """

    has_beta: bool = True
    logarithmic: bool = True
    ratio: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        init = nn.initializers.zeros if self.logarithmic else nn.initializers.ones
        alpha = self.param("alpha", init, (x.shape[-1],))
        beta = self.param("beta", init, (x.shape[-1],)) if self.has_beta else alpha
        if self.logarithmic:
            alpha, beta = jnp.exp(alpha), jnp.exp(beta)
        return _anti_aliased(x, alpha, beta, self.ratio, lengths)


# A codec has thirty at five shapes: each shape is traced and lowered once.
@functools.partial(jax.jit, static_argnames="ratio")
def _anti_aliased(
    x: jax.Array, alpha: jax.Array, beta: jax.Array, ratio: int, lengths: jax.Array | None
) -> jax.Array:
    if lengths is None:
        return downsample(tuple(snake(p, alpha, beta) for p in upsample(x, ratio)))
    # The last sample of the higher rate is computed by itself, from the frames that it sees:
    # taken out of its phase it would cost another pass over all of it.
    near = last_of(x, lengths, TAPS_PER_RATIO // 2)
    last = snake(upsample(near, ratio)[-1][:, -1:], alpha, beta)
    phases = upsample(fill_after(x, lengths, near[:, -1:]), ratio)
    return downsample(tuple(fill_after(snake(p, alpha, beta), lengths, last) for p in phases))
