"""Resampling a whole waveform."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.sinc import sinc_kernel


class Resample(nn.Module):
    """(batch, samples) -> (batch, samples * to_rate / from_rate, rounded up).

    Args:
      from_rate, to_rate: in Hz, or as a ratio.
      design: of the filter, a name in `DESIGNS`.
      ends: how a waveform goes on at both, a mode of `functional.pad`.
    """

    def __init__(self, from_rate: int, to_rate: int, design: str, ends: str = "constant") -> None:
        super().__init__()
        kernel, self.width, self.source, self.target = sinc_kernel(from_rate, to_rate, design)
        self.ends = ends
        self.register_buffer("kernel", kernel[:, None], persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        samples = waveform.shape[1]
        side = (self.width, self.width + self.source)
        padded = functional.pad(waveform[:, None], side, mode=self.ends)
        y = functional.conv1d(padded, self.kernel, stride=self.source)
        y = y.transpose(1, 2).flatten(1)
        return y[:, : (samples * self.target + self.source - 1) // self.source]
