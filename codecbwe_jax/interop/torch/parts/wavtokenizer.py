"""WavTokenizer's backbone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.residual_block import EPS, GROUPS, ResidualBlock
from codecbwe_jax.interop.torch.parts.vocos import Vocos


class FrameAttention(nn.Module):
    """Attention of one head over all frames."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, size, EPS)
        self.q, self.k, self.v, self.proj_out = (nn.Conv1d(size, size, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x.mT)
        mixed = functional.scaled_dot_product_attention(self.q(y).mT, self.k(y).mT, self.v(y).mT)
        return x + self.proj_out(mixed.mT).mT


class FrameNorm(nn.GroupNorm):
    """GroupNorm of (batch, frames, size)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.mT).mT


class WavTokenizer(Vocos):
    """Vocos with attention before it: (batch, inputs, frames) -> (batch, frames, size)."""

    def __init__(self, inputs: int, size: int, intermediate: int, layers: int) -> None:
        super().__init__(inputs, size, intermediate, layers)
        before, after = ([ResidualBlock(size) for _ in range(2)] for _ in range(2))
        norm = FrameNorm(GROUPS, size, EPS)
        self.pos_net = nn.Sequential(*before, FrameAttention(size), *after, norm)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.pos_net(self.embed(x).mT)).mT
