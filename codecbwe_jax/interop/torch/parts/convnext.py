"""ConvNeXt on frames."""

from __future__ import annotations

import torch
from torch import nn


class ConvNeXtBlock(nn.Module):
    """(batch, channels, frames) -> the same."""

    def __init__(self, channels: int, layer_scale: float, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, inner)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(inner, channels)
        self.gamma = nn.Parameter(layer_scale * torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.dwconv(x).transpose(1, 2))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.transpose(1, 2)


def normalised(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    """A norm over the channels of (batch, channels, frames)."""
    return norm(x.transpose(1, 2)).transpose(1, 2)
