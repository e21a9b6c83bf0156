"""Vocos' backbone."""

from __future__ import annotations

import torch
from torch import nn

from codecbwe_jax.interop.torch.parts.convnext import ConvNeXtBlock, normalised


class Vocos(nn.Module):
    """(batch, inputs, frames) -> (batch, frames, size)."""

    def __init__(self, inputs: int, size: int, intermediate: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(inputs, size, 7, padding=3)
        self.norm = nn.LayerNorm(size, eps=1e-6)
        blocks = [ConvNeXtBlock(size, 1 / layers, intermediate) for _ in range(layers)]
        self.convnext = nn.ModuleList(blocks)
        self.final_layer_norm = nn.LayerNorm(size, eps=1e-6)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, frames) -> (batch, size, frames)."""
        return normalised(self.norm, self.embed(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x.transpose(1, 2))
