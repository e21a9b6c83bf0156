"""Signals that come in consecutive blocks `[n, channels]`: resampled, read ahead, cut to length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr


def resampled(blocks: Iterable[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    """A signal of one rate in Hz at another, bit for bit what `soxr.resample` gives of it whole."""
    if rate == wanted:
        yield from blocks
        return
    stream = None
    for block in blocks:
        if stream is None:
            stream = soxr.ResampleStream(rate, wanted, block.shape[1], dtype="float32")
            empty = block[:0]
        yield stream.resample_chunk(np.ascontiguousarray(block))
    if stream is not None:
        yield stream.resample_chunk(empty, last=True)


def resampled_length(samples: int, rate: int, wanted: int) -> int:
    """Length of what `resampled` gives of so many samples: soxr rounds halves up."""
    return (2 * samples * wanted + rate) // (2 * rate)


def exactly(blocks: Iterable[np.ndarray], length: int, channels: int) -> Iterator[np.ndarray]:
    """The first `length` samples of a signal, with zeros after it where it is shorter."""
    left = length
    for block in blocks:
        yield block[:left]
        left -= min(left, len(block))
    if left:
        yield np.zeros((left, channels), np.float32)


class Buffer:
    """What is read ahead of a signal.

    Args:
      blocks: of the signal.
    """

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks, self._held = blocks, np.zeros((0, 1), np.float32)
        self._dropped = 0

    def fill(self, wanted: int) -> bool:
        """Read until `wanted` samples are held; False if the signal ends before."""
        parts, have = [self._held] if len(self._held) else [], len(self._held)
        while have < wanted and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            have += len(block)
        self._held = np.concatenate(parts) if parts else self._held
        return have >= wanted

    def peek(self, wanted: int) -> np.ndarray:
        """The next `wanted` samples, with zeros after the end of the signal."""
        held = self._held[:wanted]
        return np.pad(held, ((0, wanted - len(held)), (0, 0)))

    def drop(self, count: int) -> None:
        """Forget samples."""
        self._held = self._held[count:]
        self._dropped += count

    def cut(self, first: int, count: int) -> np.ndarray:
        """Samples from number `first` on, as `peek`; those before it are forgotten."""
        self.drop(first - self._dropped)
        self.fill(count)
        return self.peek(count)
