"""A head that predicts a spectrum for each band."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.istft_head import istft
from codecbwe_jax.interop.torch.parts.pqmf import pqmf_synthesis


class BandsHead(nn.Module):
    """An ISTFT for each band; synthesis by fixed or trained filters."""

    def __init__(
        self, size: int, bands: int, hop_length: int, clip: float, taps: int, trained: bool
    ) -> None:
        super().__init__()
        self.bands, self.hop_length, self.clip = bands, hop_length, clip
        self.linear = nn.Linear(size, bands * (4 * hop_length + 2))
        self.synthesis = nn.Conv1d(bands, 1, taps + 1, padding=taps // 2, bias=False)
        if not trained:  # made here, not read
            kernel = pqmf_synthesis(bands, taps).float()[None]
            del self.synthesis
            self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = len(x)
        y = self.linear(x).unflatten(-1, (self.bands, -1)).transpose(1, 2).flatten(0, 1)
        waves = istft(y, self.hop_length, self.clip).reshape(batch, self.bands, -1)
        spread = torch.zeros(*waves.shape, self.bands, dtype=x.dtype, device=x.device)
        spread[..., 0] = self.bands * waves
        kernel = self.synthesis.weight if hasattr(self, "synthesis") else self.kernel
        return functional.conv1d(spread.flatten(2), kernel, padding=kernel.shape[-1] // 2)[:, 0]
