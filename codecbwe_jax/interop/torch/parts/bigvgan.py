"""Layers of BigVGAN, which more than one system has."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class AntiAliasedSnake(nn.Module):
    """SnakeBeta at the double rate between two filters, which are buffers as in the original."""

    class Beta(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.alpha = nn.Parameter(torch.zeros(channels))
            self.beta = nn.Parameter(torch.zeros(channels))

    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("filter", torch.zeros(1, 1, 12))

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.act = AntiAliasedSnake.Beta(channels)
        self.upsample, self.downsample = AntiAliasedSnake.Filter(), AntiAliasedSnake.Filter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = self.upsample.filter.expand(self.channels, -1, -1)
        x = functional.pad(x, (5, 5), mode="replicate")
        x = 2 * functional.conv_transpose1d(x, kernel, stride=2, groups=self.channels)[..., 15:-15]
        alpha, beta = self.act.alpha.exp()[:, None], self.act.beta.exp()[:, None]
        x = x + torch.sin(alpha * x).square() / (beta + 1e-9)
        x = functional.pad(x, (5, 6), mode="replicate")
        kernel = self.downsample.filter.expand(self.channels, -1, -1)
        return functional.conv1d(x, kernel, stride=2, groups=self.channels)


class SnakeResidualBlock(nn.Module):
    """Snake, dilated convolution, Snake, convolution, added to the input, for each dilation."""

    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        for n in (1, 2):
            spreads = dilations if n == 1 else [1] * len(dilations)
            convs = [
                nn.Conv1d(channels, channels, kernel, padding=d * (kernel - 1) // 2, dilation=d)
                for d in spreads
            ]
            setattr(self, f"convs{n}", nn.ModuleList(convs))
            setattr(self, f"acts{n}", nn.ModuleList(AntiAliasedSnake(channels) for _ in dilations))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = zip(self.acts1, self.convs1, self.acts2, self.convs2, strict=True)
        for act1, conv1, act2, conv2 in parts:
            x = x + conv2(act2(conv1(act1(x))))
        return x


def stages(config: dict) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Transposed convolutions, each halving the width, and the residual blocks after them."""
    width, ups, blocks = config["channels"], nn.ModuleList(), nn.ModuleList()
    for factor, taps in zip(config["up_factors"], config["up_kernels"], strict=True):
        side = (taps - factor) // 2
        ups.append(nn.ConvTranspose1d(width, width // 2, taps, factor, side))
        width //= 2
        for kernel, dilations in zip(config["kernels"], config["dilations"], strict=True):
            blocks.append(SnakeResidualBlock(width, kernel, dilations))
    return ups, blocks


def upsampled(x: torch.Tensor, ups: nn.ModuleList, blocks: nn.ModuleList) -> torch.Tensor:
    """(batch, width, frames) through all `stages`; of a stage's blocks the mean counts."""
    count = len(blocks) // len(ups)
    for i, up in enumerate(ups):
        x = up(x)
        x = sum(block(x) for block in blocks[i * count : (i + 1) * count]) / count
    return x
