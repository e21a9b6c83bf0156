"""Run a network over items of any length: in overlapping windows, in batches, in few shapes.

Up to one window an item is run whole. A longer one is cut into overlapping windows of one length,
the last of which ends where the item ends, and of each only the middle is kept. Every shape is
compiled once, and the network is told every item's length, so that an item gives what it gives
alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

# (batch of windows, their lengths) -> results
Run = Callable[[np.ndarray, np.ndarray], jax.Array]


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
        """Run something over windows of tokens and join the middles.

        Args:
          counts: tokens of each item.
          cut: (item, first token, tokens) -> what `run` reads for this window.
          sizes: lengths that `run` is compiled for, rising.
          run: batch of windows and their lengths -> results.
          per_token: length of the result for one token.
        """
        by_size: dict[int, list[tuple[np.ndarray, tuple[int, ...]]]] = {}
        for item, count in enumerate(counts):
            for first, tokens, begin, end in self.plan(count):
                piece = cut(item, first, tokens)
                size = next(n for n in sizes if n >= len(piece))
                by_size.setdefault(size, []).append((piece, (item, first, begin, end)))
        results: dict[tuple[int, int], np.ndarray] = {}
        for size, group in by_size.items():
            for at in range(0, len(group), self.batch_size):
                batch = group[at : at + self.batch_size]
                # one shape is compiled, not one for each remainder
                rows = [p for p, _ in batch] + [batch[0][0]] * (self.batch_size - len(batch))
                lengths = np.array([len(row) for row in rows], np.int32)
                out = np.asarray(run(np.stack([zeros_after(row, size) for row in rows]), lengths))
                for (_, (item, first, begin, end)), row in zip(batch, out, strict=False):
                    inside = slice((begin - first) * per_token, (end - first) * per_token)
                    results[item, begin] = row[inside]
        joined: list[list[np.ndarray]] = [[] for _ in counts]
        for item, begin in sorted(results):
            joined[item].append(results[item, begin])
        return [np.concatenate(p) if p else np.zeros(0, np.float32) for p in joined]

    def plan(self, tokens: int) -> list[tuple[int, int, int, int]]:
        """Windows of an item: (first token, tokens, first and last token that it contributes)."""
        if tokens <= self.length:
            return [(0, tokens, 0, tokens)] if tokens else []
        stride = self.length - 2 * self.context
        starts = [*range(0, tokens - self.length, stride), tokens - self.length]
        ends = [start + self.length - self.context for start in starts[:-1]] + [tokens]
        begins = [0, *ends[:-1]]
        return [
            (start, self.length, begin, end)
            for start, begin, end in zip(starts, begins, ends, strict=True)
        ]


def zeros_after(x: np.ndarray, length: int) -> np.ndarray:
    """An array with zeros after it, up to a length."""
    return np.pad(x, (0, length - len(x)))
