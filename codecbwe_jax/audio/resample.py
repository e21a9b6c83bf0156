"""Windowed-sinc resampling on device."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp

from codecbwe_jax.audio.sinc import SINC_FILTERS, SincFilter, sinc_kernel


def whole_hops(hop_length: int, from_rate: int, to_rate: int) -> int:
    """The fewest samples at one rate in Hz that are whole hops at another, whose hop_length is
    given in its own samples."""
    return hop_length * from_rate // math.gcd(hop_length * from_rate, to_rate)


def resample(
    x: jax.Array,
    from_rate: int,
    to_rate: int,
    design: str | SincFilter = "hann24",
    ends: Literal["constant", "edge"] = "constant",
) -> jax.Array:
    """Resample waveforms, time-aligned (zero delay).

    Args:
      x: waveform `[..., samples]`, float32.
      from_rate, to_rate: rates in Hz.
      design: a name in `audio.sinc.SINC_FILTERS` or a `SincFilter`. Weights made elsewhere need
        the resampler that they were trained with.
      ends: what is beyond both ends, zeros or the outermost samples.

    Returns:
      float32 `[..., ceil(samples * to_rate / from_rate)]`, as torchaudio functional.resample.
    """
    if from_rate == to_rate:
        return x
    if isinstance(design, str):
        design = SINC_FILTERS[design]
    kernel, width = sinc_kernel(from_rate, to_rate, design)
    divisor = math.gcd(from_rate, to_rate)
    source, target = from_rate // divisor, to_rate // divisor
    length = -(-x.shape[-1] * target // source)
    padded = jnp.pad(x.reshape(-1, x.shape[-1]), ((0, 0), (width, width + source)), mode=ends)
    y = jax.lax.conv_general_dilated(
        padded[..., None],
        kernel.T[:, None, :],
        window_strides=(source,),
        padding=[(0, 0)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.reshape(y, (*x.shape[:-1], -1))[..., :length]
