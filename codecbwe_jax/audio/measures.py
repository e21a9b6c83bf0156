"""Figures of each channel of a whole clip, which is heard block by block `[n, channels]`."""

from __future__ import annotations

import numpy as np


class Peak:
    """The largest magnitude of a sample; 0 of none."""

    def __init__(self) -> None:
        self._peak = np.zeros(1, np.float32)

    def add(self, block: np.ndarray) -> None:
        self._peak = np.maximum(self._peak, np.max(np.abs(block), axis=0, initial=0))

    def value(self) -> np.ndarray:
        return self._peak
