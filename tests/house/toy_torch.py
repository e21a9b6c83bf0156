"""The toy in PyTorch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.resample import Resample
from codecbwe_jax.interop.torch.parts.sampled import Sampled


class Frames(nn.Module):
    """(batch, frames, width) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class Toy(Sampled):
    """The toy, whose part lies in it."""

    def __init__(self, config: dict) -> None:
        super().__init__({**config, "input_rate": 16000, "output_rate": 32000})
        self.width = 80
        self.conv = Frames(self.width).conv
        self.vocoder = Frames(self.width)
        self.upsample = Resample(self.input_rate, self.output_rate, "hann24")

    def run(self, waveform: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        level = waveform.abs().amax(dim=1, keepdim=True).clamp(min=1e-3)
        wide = self.upsample(waveform / level)
        known = functional.pad(wide, (0, -wide.shape[1] % self.width))
        known = known.unflatten(1, (-1, self.width))
        x = 0.1 * noise
        for _ in range(self.sampling["steps"]):
            x = 0.5 * x + self.conv((x + known).transpose(1, 2)).transpose(1, 2)
        frames = known + x
        return level * (frames + 0.1 * self.vocoder(frames)).flatten(1)


load = Toy.load
