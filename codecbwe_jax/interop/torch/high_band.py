"""The high-band residual in PyTorch: what the input lacks, by a ConvNeXt backbone.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    model = load(".")
    wide = model.extend(narrow)      # (batch, n) at 16 kHz -> (batch, 2 * n) at 32 kHz
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.post_hoc import PostHoc
from codecbwe_jax.interop.torch.parts.pqmf import pqmf_synthesis
from codecbwe_jax.interop.torch.parts.resample import Resample
from codecbwe_jax.interop.torch.parts.spectrum import Spectrum
from codecbwe_jax.interop.torch.parts.vocos import Vocos

PQMF_TAPS = 192


class HighBand(PostHoc):
    """The interpolated input, kept, plus what it lacks."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        c, self.ratio = config, self.output_rate // self.input_rate
        window = round(0.02 * self.input_rate)
        self.hop, self.first = window // 4, round(0.925 * self.input_rate / 2 * 0.02)
        self.heads, self.bins = 1, window * self.ratio // 2 - self.first
        wide = window * self.ratio
        if c["synthesis"] == "pqmf":
            self.heads, self.bins, wide = self.ratio - 1, window // 2 + 1, window
            passing = high_pass_taps(self.output_rate, self.input_rate / 2)
            self.register_buffer("joining", joining_filters(self.ratio), persistent=False)
            self.register_buffer("passing", passing[None, None], persistent=False)
        self.seen = int(c["seen"] * window / 2) + 1
        self.backbone = Vocos(3 * self.seen, c["size"], c["intermediate"], c["layers"])
        self.head = nn.Linear(c["size"], 2 * self.heads * self.bins)
        self.narrow, self.wide = Spectrum(window, self.hop), Spectrum(wide, wide // 4)
        self.upsample = Resample(self.input_rate, self.output_rate, "hann24")

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        real, imag = (x[:, : self.seen] for x in self.narrow(waveform))
        power = real.square() + imag.square() + 1e-10
        parts = (0.5 * torch.log(power), power**-0.35 * real, power**-0.35 * imag)
        y = self.head(self.backbone(torch.cat(parts, 1)))
        return self.upsample(waveform) + self.config["gain"] * self.synthesise(y)

    def synthesise(self, y: torch.Tensor) -> torch.Tensor:
        """Outputs of the network (batch, frames, heads * 2 * bins) -> (batch, samples)."""
        waves = []
        for head in y.transpose(1, 2).chunk(self.heads, 1):
            log_magnitude, phase = head.chunk(2, 1)
            magnitude = torch.exp(log_magnitude).clamp(max=100.0)
            parts = magnitude * torch.cos(phase), magnitude * torch.sin(phase)
            if self.heads == 1 and self.config["synthesis"] == "stft":
                parts = tuple(functional.pad(x, (0, 0, self.first, 1)) for x in parts)
            waves.append(self.wide.inverse(*parts))
        if self.config["synthesis"] == "stft":
            return waves[0]
        bands = torch.stack([torch.zeros_like(waves[0]), *waves], 1)
        side = (self.joining.shape[-1] - 1) // 2
        joined = functional.conv_transpose1d(bands, self.joining, stride=self.ratio)
        joined = joined[..., side : side + bands.shape[2] * self.ratio]
        return functional.conv1d(joined, self.passing, padding=self.passing.shape[-1] // 2)[:, 0]


def joining_filters(bands: int) -> torch.Tensor:
    """For a transposed convolution that joins bands: (bands, 1, taps)."""
    return (bands * pqmf_synthesis(bands, PQMF_TAPS)).float()[:, None].flip(-1)


def high_pass_taps(rate: int, edge: float) -> torch.Tensor:
    """A Kaiser-windowed high-pass, 100 dB down at seven eighths of an edge in Hz, passing from
    the edge on."""
    stop, attenuation = 0.875 * edge, 100.0
    width = (edge - stop) / (rate / 2)
    count = math.ceil((attenuation - 7.95) / 2.285 / (math.pi * width)) + 1
    count |= 1
    beta = 0.1102 * (attenuation - 8.7)
    n = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    cutoff = (stop + edge) / rate
    low = cutoff * torch.sinc(cutoff * n)
    window = torch.kaiser_window(count, periodic=False, beta=beta, dtype=torch.float64)
    taps = ((n == 0).double() - low) * window
    # of gain 1 at Nyquist
    return (taps / (taps * torch.cos(math.pi * n)).sum()).float()


load = HighBand.load
