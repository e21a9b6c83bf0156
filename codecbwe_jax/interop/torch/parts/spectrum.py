"""Short-time Fourier transforms as matrix products, which every exporter knows."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


class Spectrum(nn.Module):
    """Centred short-time Fourier transform with a Hann window, and its inverse."""

    def __init__(self, n_fft: int, hop_length: int, win_length: int | None = None) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        win_length = win_length or n_fft
        left = (n_fft - win_length) // 2
        window = torch.hann_window(win_length, dtype=torch.float64)
        window = functional.pad(window, (left, n_fft - win_length - left))
        n = torch.arange(n_fft, dtype=torch.float64)
        bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
        angle = 2 * math.pi / n_fft * bins[:, None] * n
        forward = torch.cat([torch.cos(angle), -torch.sin(angle)]) * window
        # the bins in the middle stand for their mirror images too
        twice = torch.full((len(bins), 1), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1.0
        inverse = torch.cat([twice * torch.cos(angle), -twice * torch.sin(angle)]) * window / n_fft
        for name, value in (("analysis", forward), ("synthesis", inverse)):
            self.register_buffer(name, value.float()[:, None], persistent=False)
        self.register_buffer("power", window.square().float()[None, None], persistent=False)

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, samples) -> real and imaginary parts, (batch, bins, frames)."""
        side = self.n_fft // 2
        padded = functional.pad(waveform[:, None], (side, side), mode="reflect")
        real, imag = functional.conv1d(padded, self.analysis, stride=self.hop_length).chunk(2, 1)
        edges = torch.ones(imag.shape[1], 1, device=imag.device)
        edges[0] = edges[-1] = 0.0
        # + 0.0: never -0.0, so that the phase of DC is 0 or +pi
        return real, imag * edges + 0.0

    def inverse(self, real: torch.Tensor, imag: torch.Tensor) -> torch.Tensor:
        """Parts (batch, bins, frames) -> (batch, (frames - 1) * hop_length)."""
        parts = torch.cat([real, imag], 1)
        y = functional.conv_transpose1d(parts, self.synthesis, stride=self.hop_length)
        ones = torch.ones_like(real[:1, :1])
        power = functional.conv_transpose1d(ones, self.power, stride=self.hop_length)
        side = self.n_fft // 2
        length = self.hop_length * (real.shape[2] - 1)
        y, power = y[:, 0, side : side + length], power[:, 0, side : side + length]
        return y / torch.where(power > 1e-11, power, torch.ones_like(power))
