"""Windowed-sinc filters that change a rate."""

from __future__ import annotations

import math

import torch

# name -> zero crossings on each side, roll-off, Kaiser beta or None for a Hann window
DESIGNS = {
    "torchaudio": (6, 0.99, None),
    "hann24": (24, 0.97, None),
    "kaiser16": (16, 0.945, 14.769656459379492),
}


def sinc_kernel(from_rate: int, to_rate: int, design: str) -> tuple[torch.Tensor, int, int, int]:
    """(kernel (phases, taps), samples of context, stride, phases) of a polyphase resampler."""
    crossings, rolloff, beta = DESIGNS[design]
    divisor = math.gcd(from_rate, to_rate)
    source, target = from_rate // divisor, to_rate // divisor
    base = min(source, target) * rolloff
    width = math.ceil(crossings * source / base)
    taps = torch.arange(-width, width + source, dtype=torch.float64) / source
    phases = torch.arange(target, dtype=torch.float64)[:, None] / target
    t = ((taps - phases) * base).clamp(-crossings, crossings)
    if beta is None:
        window = torch.cos(math.pi * t / crossings / 2) ** 2
    else:
        peak = torch.i0(torch.tensor(beta, dtype=torch.float64))
        window = torch.i0(beta * torch.sqrt(1 - (t / crossings) ** 2)) / peak
    return (torch.sinc(t) * window * base / source).float(), width, source, target
