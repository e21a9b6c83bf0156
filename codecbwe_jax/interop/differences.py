"""How far an export is from its model."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Differences:
    """How far an export is from JAX, by the names of what was compared.

    Attributes:
      parts: of parts, or on noise or tokens, largest as a share of the peak.
      speech: of speech on the whole path, root mean square as a share of that of ours; such as
        "voices, batch 1".
    """

    parts: dict[str, float] = dataclasses.field(default_factory=dict)
    speech: dict[str, float] = dataclasses.field(default_factory=dict)

    def __or__(self, other: Differences) -> Differences:
        return Differences(self.parts | other.parts, self.speech | other.speech)

    @property
    def all(self) -> dict[str, float]:
        """Both kinds."""
        return self.parts | self.speech


def share(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference as a share of the peak."""
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def rms_share(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Root mean square of the difference as a share of that of ours."""
    power = float(np.mean(np.square(ours, dtype=np.float64)))
    error = float(np.mean(np.square(ours - theirs, dtype=np.float64)))
    return np.sqrt(error / max(power, 1e-20))
