"""Multi-resolution STFT loss (csteinmetz1/auraloss freq.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.stft import stft
from codecbwe_jax.fields import NotNegative, Size

# of a squared magnitude, so far below any offset that only its gradient at 0 is changed
FLOOR = 1e-20
Mean = Callable[[jax.Array], jax.Array]


def clamped_magnitude(z: jax.Array, power_floor: float = 1e-8) -> jax.Array:
    """sqrt(max(|z|^2, power_floor)): finite gradient, zero where clamped."""
    return jnp.sqrt(jnp.maximum(z.real**2 + z.imag**2, power_floor))


def spectral_convergence(
    target: jax.Array,
    predicted: jax.Array,
    norm_over: Literal["item", "batch"] = "item",
    mean_over_devices: Mean = lambda x: x,
) -> jax.Array:
    """Frobenius norm of the difference over that of the target.

    Args:
      target, predicted: magnitudes `[B, T, bins]`.
      norm_over: "item" takes norms item by item and averages the ratios, so that the value does
        not depend on what an item is batched with; "batch" is auraloss.
      mean_over_devices: for "batch", averages the squared norms over data-parallel devices.
    """
    axes = (-2, -1) if norm_over == "item" else None
    difference = jnp.sum(jnp.square(target - predicted), axes)
    power = jnp.sum(jnp.square(target), axes)
    if norm_over == "batch":
        difference, power = mean_over_devices(difference), mean_over_devices(power)
    # The root has an infinite slope at 0, where prediction and target agree exactly.
    equal = difference == 0
    root = jnp.where(equal, 0.0, jnp.sqrt(jnp.where(equal, 1.0, difference)))
    return jnp.mean(root / jnp.sqrt(power))


def multi_resolution_stft(
    target: jax.Array,
    predicted: jax.Array,
    fft_sizes: Sequence[Size] = (2048, 1024, 512, 256),
    hop_lengths: Sequence[Size] = (512, 256, 128, 64),
    win_lengths: Sequence[Size] | None = None,
    weight_sc: NotNegative = 1.0,
    weight_log: NotNegative = 1.0,
    weight_linear: NotNegative = 0.0,
    norm_over: Literal["item", "batch"] = "item",
    power_floor: NotNegative = 1e-8,
    filterbanks: Sequence[np.ndarray] | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Spectral convergence and log-magnitude distance over several resolutions.

    Args:
      target, predicted: waveforms `[B, samples]`.
      fft_sizes, hop_lengths, win_lengths: of each resolution, in samples.
      weight_sc, weight_log, weight_linear: of the three terms.
      norm_over: see `spectral_convergence`; "batch" reproduces auraloss.
      power_floor: squared magnitudes are raised to it.
      filterbanks: `[bins, n]` for each resolution, applied to the magnitudes (scale="mel").

    Returns:
      The mean over resolutions, and "spectral_convergence", "log_magnitude" and
      "linear_magnitude" of each resolution, `[resolutions]`, 0 where the weight is 0.
    """
    rows = []
    for i, (n_fft, hop) in enumerate(zip(fft_sizes, hop_lengths, strict=True)):
        win = win_lengths[i] if win_lengths else n_fft
        x, y = (
            clamped_magnitude(stft(w, n_fft, hop, win), power_floor) for w in (predicted, target)
        )
        if filterbanks is not None:
            bank = filterbanks[i]
            x, y = (jnp.matmul(m, bank, precision=jax.lax.Precision.HIGHEST) for m in (x, y))
        zero = jnp.float32(0)
        rows.append(
            (
                spectral_convergence(y, x, norm_over) if weight_sc else zero,
                jnp.mean(jnp.abs(jnp.log(x) - jnp.log(y))) if weight_log else zero,
                jnp.mean(jnp.abs(x - y)) if weight_linear else zero,
            )
        )
    sc, log, linear = (jnp.stack(column) for column in zip(*rows, strict=True))
    loss = jnp.mean(weight_sc * sc + weight_log * log + weight_linear * linear)
    terms = {"spectral_convergence": sc, "log_magnitude": log, "linear_magnitude": linear}
    return loss, terms


def log_magnitude_distance(
    target: jax.Array,
    predicted: jax.Array,
    windows: Sequence[Size] = (2048, 512),
    floor: NotNegative = 1e-5,
    power: float = 2.0,
) -> jax.Array:
    """DAC's multi-scale STFT distance (descript-audio-codec loss.py): over all windows the sum of
    mean |log10 max(., floor)^power difference| and mean |difference|, hop a quarter window."""
    total = jnp.float32(0)
    for window in windows:
        x, y = (jnp.abs(stft(w, window, window // 4)) for w in (predicted, target))
        log_x, log_y = (power * jnp.log10(jnp.maximum(m, floor)) for m in (x, y))
        total += jnp.mean(jnp.abs(log_x - log_y)) + jnp.mean(jnp.abs(x - y))
    return total


def log_stft_l1(
    target: jax.Array,
    predicted: jax.Array,
    windows: Sequence[Size] = (512, 1024, 2048, 4096),
    offset: NotNegative = 1e-5,
) -> jax.Array:
    """Mean over windows (hop a quarter) of mean |ln difference| of magnitudes, to which `offset`
    is added (brentspell/hifi-gan-bwe criteria.py).

    Args:
      target, predicted: waveforms `[..., samples]`.
      windows: in samples.
      offset: added to every magnitude.
    """

    def log_magnitude(waveform: jax.Array, window: int) -> jax.Array:
        z = stft(waveform, window, window // 4)
        return jnp.log(clamped_magnitude(z, FLOOR) + offset)

    terms = [
        jnp.mean(jnp.abs(log_magnitude(target, w) - log_magnitude(predicted, w))) for w in windows
    ]
    return jnp.mean(jnp.stack(terms))
