"""Opus' blind bandwidth extension in PyTorch: a step with its state outside.

Weights have the original's names.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    model = load(".")
    state = model.begin()
    wide, *state = model(frames, *state)     # (batch, k * frame_length) at 16 kHz

`wide` is `model.lag` samples behind the input; `model.extend` aligns a whole waveform.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.causal_conv import CausalConv
from codecbwe_jax.interop.torch.parts.interleaved import interleaved
from codecbwe_jax.interop.torch.parts.streaming import Memory, Streaming


class AdaptiveConv(nn.Module):
    """Filters (batch, C, T) by kernels that conditions (batch, F, size) give."""

    def __init__(self, inputs: int, features: int, taps: int, size: int, overlap: int) -> None:
        super().__init__()
        self.features, self.taps, self.overlap = features, taps, overlap
        self.conv_kernel = nn.Linear(size, features * inputs * taps)
        self.filter_gain = nn.Linear(size, features)
        self.register_buffer("overlap_win", torch.zeros(overlap))

    def forward(self, x: torch.Tensor, conditions: torch.Tensor, memory: Memory) -> torch.Tensor:
        batch, count = conditions.shape[:2]
        samples = x.shape[2]
        kernels = self.conv_kernel(conditions).reshape(batch, count, self.features, -1)
        gain = torch.exp(12 * math.log(10) / 20 * torch.tanh(self.filter_gain(conditions)))
        norm = kernels.square().sum(-1, keepdim=True).sqrt()
        kernels = (gain[..., None] * kernels / (1e-6 + norm)).transpose(2, 3)
        before = torch.cat([memory.recall(torch.zeros_like(kernels[:, :1])), kernels[:, :-1]], 1)
        memory.new.append(kernels[:, -1:])
        joined = memory.with_past(x, self.taps - 1)
        views = torch.stack([joined[:, :, k : k + samples] for k in range(self.taps)], -1)
        views = views.transpose(1, 2).reshape(batch, count, samples // count, -1)
        now, old = views @ kernels, views[:, :, : self.overlap] @ before
        fade = self.overlap_win[:, None]
        crossed = fade * old + (1 - fade) * now[:, :, : self.overlap]
        y = torch.cat([crossed, now[:, :, self.overlap :]], dim=2)
        return y.reshape(batch, samples, self.features).transpose(1, 2)


class AdaptiveShape(nn.Module):
    """Gains for (batch, T) that follow its envelope and conditions."""

    def __init__(self, pool: int, frame: int, size: int) -> None:
        super().__init__()
        self.pool, gains = pool, frame // 2
        self.feature_alpha1_f = CausalConv(size, gains, 2, bias=False)
        self.feature_alpha1_t = CausalConv(frame // pool + 1, gains, 2, bias=False)
        self.feature_alpha2 = CausalConv(gains, gains, 2, bias=False)
        self.register_buffer("interpolate_weight", torch.full((1, 1, 2), 0.5))

    def forward(self, x: torch.Tensor, conditions: torch.Tensor, memory: Memory) -> torch.Tensor:
        batch, count = conditions.shape[:2]
        envelope = x.abs().reshape(batch, count, -1, self.pool).mean(-1)
        envelope = torch.log(envelope + 2.0**-16)
        mean = envelope.mean(-1, keepdim=True)
        envelope = torch.cat([envelope - mean, mean], -1).transpose(1, 2)
        y = self.feature_alpha1_f(conditions.transpose(1, 2), memory)
        y = y + self.feature_alpha1_t(envelope, memory)
        log_gain = self.feature_alpha2(functional.leaky_relu(y, 0.2), memory)
        log_gain = log_gain.transpose(1, 2).reshape(batch, -1).repeat_interleave(2, dim=1)
        # a stream's first sample has none before it, and is its own neighbour
        past = memory.recall(torch.full_like(log_gain[:, :1], torch.nan))
        past = torch.where(torch.isnan(past), log_gain[:, :1], past)
        memory.new.append(log_gain[:, -1:])
        before = torch.cat([past, log_gain[:, :-1]], 1)
        return x * torch.exp((before + log_gain) / 2)


class OpusBbwe(Streaming):
    """Opus' blind bandwidth extension (arXiv 2412.11392), under the original's names."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        size, taps = config["size"], config["taps"]
        self.lag = 13 if self.ratio == 3 else 4
        self.register_buffer("bands", band_filters(), persistent=False)
        self.register_buffer("basis", fourier_basis(320), persistent=False)
        net = self.feature_net = nn.Module()
        net.conv1, net.conv2 = CausalConv(114, size, 3), CausalConv(size, size, 3)
        net.tconv = nn.ConvTranspose1d(size, size, 2, 2)
        net.gru = nn.GRU(size, size, batch_first=True)
        self.upsampler = nn.Module()
        for name, length in (("hq_2x_up_even", 128), ("hq_2x_up_odd", 128)):
            self.upsampler.register_buffer(name, torch.zeros(1, 1, length))
        for name in ("frac_01_24", "frac_17_24", "frac_09_24"):
            self.upsampler.register_buffer(name, torch.zeros(1, 1, 8))
        self.register_buffer("doubling", None, persistent=False)
        self.register_buffer("halves", None, persistent=False)
        self.af1 = AdaptiveConv(1, 3, taps[0], size, 40)
        self.tdshape1 = AdaptiveShape(8, 160, size)
        self.af2 = AdaptiveConv(3, 3 if self.ratio == 3 else 1, taps[1], size, 80)
        if self.ratio == 3:
            self.tdshape2 = AdaptiveShape(12, 240, size)
            self.af3 = AdaptiveConv(3, 1, taps[2], size, 120)

    def run(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        conditions = self.conditions(self.spectral_features(x, memory), memory)
        y = self.af1(x[:, None], conditions, memory)
        y = self.double_rate(y, memory)
        y = self.enriched(y, self.tdshape1, conditions, memory)
        y = self.af2(y, conditions, memory)
        if self.ratio == 3:
            y = self.three_halves(y, memory)
            y = self.enriched(y, self.tdshape2, conditions, memory)
            y = self.af3(y, conditions, memory)
        return y[:, 0]

    def spectral_features(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        blocks = x.reshape(x.shape[0], -1, 160).transpose(1, 2)
        joined = memory.with_past(blocks, 1)
        frames = torch.cat([joined[..., :-1], joined[..., 1:]], dim=1).transpose(1, 2)
        real, imag = (frames @ self.basis).chunk(2, dim=-1)
        bands = (real.square() + imag.square()).sqrt() @ self.bands.T
        real, imag = real[..., :41], imag[..., :41]
        first = (torch.full_like(real[:, :1], 1e-9), torch.zeros_like(imag[:, :1]))
        before = memory.recall(torch.cat(first, -1))
        memory.new.append(torch.cat([real[:, -1:], imag[:, -1:]], -1))
        old_real, old_imag = before.chunk(2, dim=-1)
        old_real = torch.cat([old_real, real[:, :-1]], 1)
        old_imag = torch.cat([old_imag, imag[:, :-1]], 1)
        turn_real = real * old_real + imag * old_imag
        turn_imag = imag * old_real - real * old_imag
        size = (turn_real.square() + turn_imag.square()).sqrt() + 1e-9
        return torch.cat([torch.log(bands + 1e-9), turn_real / size, turn_imag / size], -1)

    def conditions(self, features: torch.Tensor, memory: Memory) -> torch.Tensor:
        net = self.feature_net
        y = torch.tanh(net.conv1(features.transpose(1, 2), memory))
        y = torch.tanh(net.conv2(y, memory))
        y = torch.tanh(net.tconv(y)).transpose(1, 2)
        h = memory.recall(y.new_zeros(1, y.shape[0], y.shape[2]))
        y, h = net.gru(y, h)
        memory.new.append(h)
        return y

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        super().take(tensors)
        up = self.upsampler
        self.doubling = torch.cat([up.hq_2x_up_even, up.hq_2x_up_odd])
        # the last phase is one sample later
        early = functional.pad(torch.cat([up.frac_01_24, up.frac_17_24]), (0, 1))
        self.halves = torch.cat([early, functional.pad(up.frac_09_24, (1, 0))])

    def double_rate(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        return filtered(memory.with_past(x, 127), self.doubling, 1)

    def three_halves(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        joined = memory.with_past(x, 8)
        return filtered(joined[..., : joined.shape[-1] - 1], self.halves, 2)

    def enriched(
        self, y: torch.Tensor, shape: AdaptiveShape, conditions: torch.Tensor, memory: Memory
    ) -> torch.Tensor:
        shaped = shape(y[:, 1], conditions, memory)
        folded = y[:, 2] * torch.sin(torch.log(y[:, 2].abs() + 1e-6))
        return torch.stack([y[:, 0], shaped, folded], dim=1)


def filtered(x: torch.Tensor, kernels: torch.Tensor, stride: int) -> torch.Tensor:
    """Every channel by every kernel; their results one after another in time."""
    batch, channels, samples = x.shape
    y = functional.conv1d(x.reshape(batch * channels, 1, samples), kernels, stride=stride)
    return interleaved(y).reshape(batch, channels, -1)


def band_filters() -> torch.Tensor:
    """32 triangles over 161 bins, 5 bins apart, the last at Nyquist, each of sum 1."""
    centres = torch.tensor([*range(0, 151, 5), 160], dtype=torch.float64)
    bins = torch.arange(161, dtype=torch.float64)
    rows = []
    for i, centre in enumerate(centres):
        row = (bins == centre).double()
        if i > 0:
            rise = (bins - centres[i - 1]) / (centre - centres[i - 1])
            row = torch.where((bins < centre) & (rise > 0), rise, row)
        if i + 1 < len(centres):
            fall = (centres[i + 1] - bins) / (centres[i + 1] - centre)
            row = torch.where((bins > centre) & (fall > 0), fall, row)
        rows.append(row / row.sum())
    return torch.stack(rows).float()


def fourier_basis(length: int) -> torch.Tensor:
    """Sine window and transform in one matrix: (length, cosines and sines of length / 2 + 1)."""
    n = torch.arange(length, dtype=torch.float64)
    angle = 2 * math.pi / length * n[:, None] * torch.arange(length // 2 + 1, dtype=torch.float64)
    window = torch.sin(math.pi * (n + 0.5) / length)[:, None]
    return (torch.cat([torch.cos(angle), -torch.sin(angle)], 1) * window).float()


load = OpusBbwe.load
