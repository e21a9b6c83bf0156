"""Convolutions on a stream."""

from __future__ import annotations

import torch
from torch import nn

from codecbwe_jax.interop.torch.parts.streaming import Memory


class CausalConv(nn.Conv1d):
    """(batch, C, T) -> (batch, features, T / stride), seeing no later frame."""

    def __init__(
        self,
        inputs: int,
        features: int,
        taps: int,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(inputs, features, taps, stride, dilation=dilation, bias=bias)
        self.past = (taps - 1) * dilation + 1 - stride

    def forward(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        return super().forward(memory.with_past(x, self.past) if self.past else x)
