"""Frames at twice the rate."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.residual_block import EPS, GROUPS


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha on (batch, channels, frames)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sin(self.alpha * x).square() / (self.alpha + 1e-9)


class SnakeBlock(nn.Module):
    """(batch, channels, frames) -> the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(GROUPS, size, EPS) for _ in range(2))
        self.snake1, self.snake2 = Snake(size), Snake(size)
        self.conv1, self.conv2 = (nn.Conv1d(size, size, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(self.snake1(self.norm1(x)))
        return x + self.conv2(self.snake2(self.norm2(y)))


class UpConv(nn.Module):
    """Transposed convolution with weight normalisation, twice the frames."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(size, 1, 1))
        self.weight_v = nn.Parameter(torch.ones(size, size // 2, 8))
        self.bias = nn.Parameter(torch.zeros(size // 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.weight_v.square().sum((1, 2), keepdim=True).sqrt()
        weight = self.weight_v * (self.weight_g / norm)
        return functional.conv_transpose1d(x, weight, self.bias, stride=2, padding=3)


class Upsampler(nn.Module):
    """(batch, frames, size) -> (batch, 2 * frames, size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.upsample_layers = nn.ModuleList([UpConv(size)])
        self.resnet_blocks = nn.ModuleList([SnakeBlock(size // 2)])
        self.out_proj = nn.Linear(size // 2, size)
        self.final_snake = Snake(size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.resnet_blocks[0](self.upsample_layers[0](x.mT))
        return self.final_snake(self.out_proj(y.mT).mT).mT
