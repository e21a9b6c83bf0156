"""A head for each of two bands, the upper at twice the frames."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.istft_head import IstftHead
from codecbwe_jax.interop.torch.parts.resample import Resample
from codecbwe_jax.interop.torch.parts.upsampler import Upsampler


class DualPathHead(nn.Module):
    """One head at half the rate below a crossover, another at the whole rate above it."""

    def __init__(self, size: int, hop_length: int, clip: float, rate: int, cutoff_hz: float):
        super().__init__()
        self.head = IstftHead(size, hop_length, 4 * hop_length, clip)
        self.upsampler = Upsampler(size)
        self.head_48k = IstftHead(size, hop_length, 4 * hop_length, clip)
        self.double_rate = Resample(1, 2, "torchaudio")
        low_pass = low_pass_taps(rate, cutoff_hz)[None, None]
        self.register_buffer("low_pass", low_pass, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # with an odd hop an inverse STFT gives one sample more
        samples = x.shape[1] * self.head.hop_length
        low, high = self.double_rate(self.head(x)[:, :samples]), self.head_48k(self.upsampler(x))
        high = high[:, : 2 * samples]
        padding = self.low_pass.shape[-1] // 2
        return high + functional.conv1d((low - high)[:, None], self.low_pass, padding=padding)[:, 0]


def low_pass_taps(rate: int, cutoff_hz: float) -> torch.Tensor:
    """A Kaiser-windowed low-pass whose transition is 600 Hz wide."""
    taps = 2 * round(1.8 * rate / 600.0) + 1
    n = torch.arange(taps, dtype=torch.float64) - taps // 2
    share = cutoff_hz / (rate / 2)
    window = torch.kaiser_window(taps, periodic=False, beta=5.65, dtype=torch.float64)
    kernel = share * torch.sinc(share * n) * window
    return (kernel / kernel.sum()).float()
