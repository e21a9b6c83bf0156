"""Run a network over items of any length: in overlapping windows, in batches, in few shapes.

Up to one window an item is run whole. A longer one is cut into overlapping windows of one length,
the last of which ends where the item ends, and of each only the middle is kept. Every shape is
compiled once, and the network is told every item's length, so that an item gives what it gives
alone.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

# (batch of windows, their lengths) -> results
Run = Callable[[np.ndarray, np.ndarray], jax.Array]


class Window(NamedTuple):
    """A stretch of an item, in tokens.

    Attributes:
      first, tokens: where it begins, and its length.
      begin, end: first token that it contributes, and the one after its last.
    """

    first: int
    tokens: int
    begin: int
    end: int

    def middle(self, per_token: int) -> slice:
        """What it contributes, in a result that has so many values for one token."""
        return slice((self.begin - self.first) * per_token, (self.end - self.first) * per_token)


@dataclasses.dataclass(frozen=True)
class Windows:
    """How items are cut, in tokens.

    Attributes:
      length: of the longest window.
      context: on both sides of what a window contributes.
      batch_size: windows of one length that are run together.
    """

    length: int
    context: int
    batch_size: int = 1

    def run(
        self,
        counts: Sequence[int],
        cut: Callable[[int, int, int], np.ndarray],
        sizes: Sequence[int],
        run: Run,
        per_token: int,
    ) -> list[np.ndarray]:
        """Run something over windows of many items, and join the middles of each.

        Args:
          counts: tokens of each item.
          cut: (item, first token, tokens) -> what `run` reads for this window.
          sizes: lengths that `run` is compiled for, rising.
          run: batch of windows and their lengths -> results.
          per_token: length of the result for one token.
        """
        by_size: dict[int, list[tuple[int, Window, np.ndarray]]] = {}
        for item, count in enumerate(counts):
            for window in self.plan(count):
                piece = cut(item, window.first, window.tokens)
                by_size.setdefault(_size(sizes, piece), []).append((item, window, piece))
        results: dict[tuple[int, int], np.ndarray] = {}
        for size, group in by_size.items():
            done = self._batched((piece for *_, piece in group), size, run)
            for (item, window, _), row in zip(group, done, strict=True):
                results[item, window.begin] = row[window.middle(per_token)]
        joined: list[list[np.ndarray]] = [[] for _ in counts]
        for item, begin in sorted(results):
            joined[item].append(results[item, begin])
        return [np.concatenate(p) if p else np.zeros(0, np.float32) for p in joined]

    def stream(
        self,
        count: int,
        cut: Callable[[int, int], np.ndarray],
        sizes: Sequence[int],
        run: Run,
        per_token: int,
    ) -> Iterator[np.ndarray]:
        """As `run`, for the channels of one item that is read as it is run.

        Args:
          count: tokens of the item.
          cut: (first token, tokens) -> what `run` reads for this window, `[n, channels]`; called
            for one window after the other, a batch ahead of the results.
          sizes, run, per_token: as of `run`.

        Yields:
          `[n, channels]`, consecutive; together what `run` gives for each channel.
        """
        windows = self.plan(count)
        if not windows:
            return
        first = cut(windows[0].first, windows[0].tokens)
        pieces = itertools.chain([first], (cut(w.first, w.tokens) for w in windows[1:]))
        rows = (row for piece in pieces for row in piece.T)
        done = self._batched(rows, _size(sizes, first), run)
        for window in windows:
            yield np.stack(
                [row[window.middle(per_token)] for row in itertools.islice(done, first.shape[1])],
                axis=1,
            )

    def _batched(self, pieces: Iterable[np.ndarray], size: int, run: Run) -> Iterator[np.ndarray]:
        """Results of pieces that are at most `size` long, run in batches."""
        pieces = iter(pieces)
        while batch := list(itertools.islice(pieces, self.batch_size)):
            # one shape is compiled, not one for each remainder
            rows = batch + batch[:1] * (self.batch_size - len(batch))
            lengths = np.array([len(row) for row in rows], np.int32)
            out = np.asarray(run(np.stack([zeros_after(row, size) for row in rows]), lengths))
            yield from out[: len(batch)]

    def plan(self, tokens: int) -> list[Window]:
        """Windows of an item of so many tokens."""
        if tokens <= self.length:
            return [Window(0, tokens, 0, tokens)] if tokens else []
        stride = self.length - 2 * self.context
        starts = [*range(0, tokens - self.length, stride), tokens - self.length]
        ends = [start + self.length - self.context for start in starts[:-1]] + [tokens]
        begins = [0, *ends[:-1]]
        return [
            Window(start, self.length, begin, end)
            for start, begin, end in zip(starts, begins, ends, strict=True)
        ]


def _size(sizes: Sequence[int], piece: np.ndarray) -> int:
    return next(n for n in sizes if n >= len(piece))


def zeros_after(x: np.ndarray, length: int) -> np.ndarray:
    """An array with zeros after it, up to a length."""
    return np.pad(x, (0, length - len(x)))
