"""What the tests of solvers share: how fast an error falls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def order(error: Callable[[int], float], steps: int) -> float:
    """The power of the step's length that an error goes with, by halving it."""
    return float(np.log2(error(steps) / error(2 * steps)))
