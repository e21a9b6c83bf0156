"""Phases of a higher rate."""

from __future__ import annotations

import torch


def interleaved(y: torch.Tensor) -> torch.Tensor:
    """(batch, phases, T) -> (batch, 1, T * phases)."""
    return y.transpose(1, 2).reshape(y.shape[0], 1, -1)
