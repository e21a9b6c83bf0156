"""Waveforms that a user hands over: checked once, and converted to float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from codecbwe_jax.errors import UserError

# More than any recording of speech has: what has more is an array that lies on its side.
MAX_CHANNELS = 32
# Times full scale. Power spectra and what is learnt from them stay finite in float32 below it.
MAX_LEVEL = 1e6


def checked(waveform: np.ndarray, name: object = "waveform") -> np.ndarray:
    """A waveform as float32, full scale being 1.

    Args:
      waveform: `[samples]` or `[samples, channels]`; floats as they are, integers scaled by their
        type (int16 / 32768, uint8 with its zero at 128).
      name: what it is called in messages.

    Raises:
      UserError: on another shape or type, on samples that are not finite or beyond `MAX_LEVEL`.
    """
    waveform = np.asarray(waveform)
    _check_shape(waveform.shape, name)
    return check_samples(_as_float(waveform, name), name)


def checked_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """As `checked`, for the consecutive blocks `[samples, channels]` of one waveform, of any length
    from 0."""
    start = 0
    for block in map(np.asarray, blocks):
        if block.ndim != 2 or not 0 < block.shape[1] <= MAX_CHANNELS:
            raise UserError(
                f"block has shape {list(block.shape)}; [samples, channels] is expected, at most "
                f"{MAX_CHANNELS} channels"
            )
        yield check_samples(_as_float(block, "block"), "block", start)
        start += len(block)


def checked_mono(waveform: np.ndarray, name: object = "waveform", start: int = 0) -> np.ndarray:
    """As `checked`, for what takes one channel alone: `[samples]`, of any length from 0, the first
    being number `start`."""
    waveform = np.asarray(waveform)
    if waveform.ndim != 1:
        raise UserError(f"{name} has shape {list(waveform.shape)}; [samples], one channel")
    return check_samples(_as_float(waveform, name), name, start)


def check_samples(samples: np.ndarray, name: object, start: int = 0) -> np.ndarray:
    """Samples `[n]` or `[n, channels]`, as they are, if all are finite and within `MAX_LEVEL`.

    Args:
      samples: float.
      name: of what they are from, for messages.
      start: number of the first one.

    Raises:
      UserError: names the first sample that is not.
    """
    check_finite(samples, name, start)
    if np.max(np.abs(samples), initial=0) > MAX_LEVEL:
        place, value = _first(samples, np.abs(samples) > MAX_LEVEL)
        raise UserError(
            f"{name}: sample {start + place} is {value:.3g}; full scale is 1, and at most "
            f"{MAX_LEVEL:.0e} is taken"
        )
    return samples


def check_finite(samples: np.ndarray, name: object, start: int = 0) -> None:
    """Raise UserError that names the first NaN or infinite sample of `[n]` or `[n, channels]`."""
    finite = np.isfinite(samples)
    if not finite.all():
        place, _ = _first(samples, ~finite)
        raise UserError(
            f"{name}: sample {start + place} is NaN or infinite; finite samples are needed"
        )


def _first(samples: np.ndarray, bad: np.ndarray) -> tuple[int, float]:
    index = np.unravel_index(int(np.argmax(bad)), bad.shape)
    return int(index[0]), float(samples[index])


def _check_shape(shape: tuple[int, ...], name: object) -> None:
    expected = f"{name} has shape {list(shape)}; [samples] or [samples, channels] is expected"
    if len(shape) not in (1, 2) or 0 in shape:
        raise UserError(expected)
    if len(shape) == 2 and (shape[1] > MAX_CHANNELS or shape[1] > shape[0]):
        raise UserError(f"{expected}, at most {MAX_CHANNELS} channels and no more than samples")


def _as_float(waveform: np.ndarray, name: object) -> np.ndarray:
    kind = waveform.dtype.kind
    if kind == "f":
        with np.errstate(over="ignore"):  # what overflows is refused as infinite
            return waveform.astype(np.float32, copy=False)
    if kind not in "iu":
        raise UserError(f"{name} holds {waveform.dtype}; floats or integers are needed")
    half = 2.0 ** (8 * waveform.dtype.itemsize - 1)
    zero = half if kind == "u" else 0.0
    return ((waveform.astype(np.float64) - zero) / half).astype(np.float32)
