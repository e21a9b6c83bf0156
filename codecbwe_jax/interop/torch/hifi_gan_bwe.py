"""HiFi-GAN+ in PyTorch: a WaveNet on the interpolated waveform.

Weights have the names of brentspell/hifi-gan-bwe.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    model = load(".")
    wide = model.extend(narrow)      # (batch, n) at 16 kHz -> (batch, 3 * n) at 48 kHz
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.post_hoc import PostHoc
from codecbwe_jax.interop.torch.parts.resample import Resample
from codecbwe_jax.interop.torch.parts.weight_norm import without_weight_norm


class WaveNetLayer(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self._conv = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self._conv_skip = nn.Conv1d(channels // 2, channels, 1)
        self._conv_out = nn.Conv1d(channels // 2, channels, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gate = self._conv(x).chunk(2, 1)
        y = torch.tanh(value) * torch.sigmoid(gate)
        return (self._conv_out(y) + x) * math.sqrt(0.5), self._conv_skip(y)


class HifiGanBwe(PostHoc):
    """HiFi-GAN+ (ICASSP 2021), under the names of brentspell/hifi-gan-bwe."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        channels, stacks, layers = config["channels"], config["stacks"], config["layers"]
        dilations = [config["dilation_base"] ** i for i in range(layers)] * stacks
        self.side = sum(dilations)
        self._wavenet = nn.Module()
        self._wavenet._conv_in = nn.Conv1d(1, channels, 1)
        self._wavenet._layers = nn.ModuleList(WaveNetLayer(channels, d) for d in dilations)
        self._wavenet._conv_out = nn.Conv1d(channels, 1, 1)
        self.register_buffer("sample_rate", torch.tensor(self.output_rate))
        self.upsample = Resample(self.input_rate, self.output_rate, config["resampler"])

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        super().take(without_weight_norm(tensors))

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        net, wide = self._wavenet, self.upsample(waveform)
        x, total = net._conv_in(functional.pad(wide[:, None], (self.side, self.side))), 0.0
        for layer in net._layers:
            x, skip = layer(x)
            total = total + skip
        y = torch.tanh(net._conv_out(total * math.sqrt(1 / len(net._layers))))[:, 0]
        return y[:, self.side : self.side + wide.shape[1]]


load = HifiGanBwe.load
