"""AP-BWE's two streams, and what they see of a spectrum."""

from __future__ import annotations

import math

import torch
from torch import nn

from codecbwe_jax.interop.torch.parts.convnext import ConvNeXtBlock, normalised

# Added to every magnitude before its logarithm.
AMPLITUDE_FLOOR = 1e-4


class Streams(nn.Module):
    """AP-BWE's two streams, of amplitudes and phases.

    Args:
      config: "channels", "layers", "n_fft" and "phase_floor".
      new: (first, end) of the bins that are predicted.
    """

    def __init__(self, config: dict, new: tuple[int, int]) -> None:
        super().__init__()
        self.new = new
        channels, layers, bins = config["channels"], config["layers"], config["n_fft"] // 2 + 1
        inputs = {"mag": bins, "pha": 2 * bins if config["phase_floor"] else bins}
        for stream in ("mag", "pha"):
            blocks = [ConvNeXtBlock(channels, 1 / layers, 3 * channels) for _ in range(layers)]
            setattr(self, f"conv_pre_{stream}", nn.Conv1d(inputs[stream], channels, 7, padding=3))
            setattr(self, f"norm_pre_{stream}", nn.LayerNorm(channels, eps=1e-6))
            setattr(self, f"convnext_{stream}", nn.ModuleList(blocks))
            setattr(self, f"norm_post_{stream}", nn.LayerNorm(channels, eps=1e-6))
        count = new[1] - new[0]
        self.linear_post_mag = nn.Linear(channels, count)
        self.linear_post_pha_r = nn.Linear(channels, count)
        self.linear_post_pha_i = nn.Linear(channels, count)

    def forward(
        self, log_amplitude: torch.Tensor, phase: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is seen of a spectrum -> new (log-amplitude, phase), each (batch, bins, frames)."""
        mag = normalised(self.norm_pre_mag, self.conv_pre_mag(log_amplitude))
        pha = normalised(self.norm_pre_pha, self.conv_pre_pha(phase))
        for mag_block, pha_block in zip(self.convnext_mag, self.convnext_pha, strict=True):
            mag = mag + pha
            pha = pha + mag
            mag, pha = mag_block(mag), pha_block(pha)
        mag = self.norm_post_mag(mag.transpose(1, 2))
        pha = self.norm_post_pha(pha.transpose(1, 2))
        residual = self.linear_post_mag(mag).transpose(1, 2)
        angle = angle_of(self.linear_post_pha_r(pha), self.linear_post_pha_i(pha))
        first, end = self.new
        return log_amplitude[:, first:end] + residual, angle.transpose(1, 2)


def rectangular(
    log_amplitude: torch.Tensor, phase: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary parts of what the streams give."""
    amplitude = torch.exp(log_amplitude)
    return amplitude * torch.cos(phase), amplitude * torch.sin(phase)


def seen(
    real: torch.Tensor, imag: torch.Tensor, phase_floor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the two streams see of a spectrum (batch, bins, frames): log-amplitude and phase.

    Without a floor, as in the original, the phase is the angle of every bin. With one, a share of
    the frame's largest magnitude, no magnitude is below it, and the phase is its cosines and then
    its sines (batch, 2 * bins, frames): those of 0 up to the floor, the bin's own from twice the
    floor on, and on a straight line in between.
    """
    magnitude = (real.square() + imag.square()).sqrt()
    if not phase_floor:
        return torch.log(magnitude + AMPLITUDE_FLOOR), angle_of(real, imag)
    floor = (phase_floor * magnitude.amax(1, keepdim=True)).clamp(min=1e-20)
    magnitude = torch.maximum(magnitude, floor)
    own = (magnitude / floor - 1).clamp(0, 1)
    phase = torch.cat([1 - own + own * real / magnitude, own * imag / magnitude], 1)
    return torch.log(magnitude + AMPLITUDE_FLOOR), phase


def angle_of(real: torch.Tensor, imag: torch.Tensor) -> torch.Tensor:
    """In (-pi, pi]. Where the imaginary part is 0, ONNX's stand-in for atan2 gives -pi or NaN."""
    straight = torch.where(real < 0, math.pi, 0.0)
    return torch.where(imag == 0, straight, torch.atan2(imag, real))
