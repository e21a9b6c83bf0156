"""The codecs' residual block on frames."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

GROUPS, EPS = 32, 1e-6


class ResidualBlock(nn.Module):
    """(batch, frames, size) -> the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(GROUPS, size, EPS) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv1d(size, size, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(functional.silu(self.norm1(x.mT)))
        return x + self.conv2(functional.silu(self.norm2(y))).mT
