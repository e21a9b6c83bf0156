"""Heads that predict one spectrum."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class IstftHead(nn.Module):
    """(batch, frames, size) -> (batch, frames * hop_length)."""

    def __init__(self, size: int, hop_length: int, n_fft: int, clip: float, hidden: int = 0):
        super().__init__()
        self.hop_length, self.clip = hop_length, clip
        self.linear = nn.Linear(size, n_fft + 2)
        if hidden:
            self.widening_in = nn.Linear(size, hidden)
            self.widening_out = nn.Linear(hidden, n_fft + 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        if hasattr(self, "widening_in"):
            y = y + self.widening_out(functional.silu(self.widening_in(x)))
        return istft(y, self.hop_length, self.clip)


def istft(x: torch.Tensor, hop_length: int, clip: float) -> torch.Tensor:
    """(batch, frames, log magnitudes and phases) -> (batch, frames * hop_length)."""
    magnitude, phase = x.chunk(2, dim=-1)
    n_fft = x.shape[-1] - 2
    window = torch.hann_window(n_fft, device=x.device)
    spectrum = torch.polar(magnitude.exp().clamp(max=clip), phase)
    frames = torch.fft.irfft(spectrum, n_fft) * window

    def overlap_add(frames: torch.Tensor) -> torch.Tensor:
        length = (frames.shape[1] - 1) * hop_length + n_fft
        sizes = {"kernel_size": (1, n_fft), "stride": (1, hop_length)}
        return functional.fold(frames.mT, output_size=(1, length), **sizes)[:, 0, 0]

    side = (n_fft - hop_length) // 2
    envelope = overlap_add(window.square().expand(1, x.shape[1], n_fft))
    return (overlap_add(frames) / envelope.clamp(min=1e-11))[:, side : -side or None]
