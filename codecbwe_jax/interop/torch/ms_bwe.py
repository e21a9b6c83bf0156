"""Multi-stage extension in PyTorch: two ConvNeXt streams for each step of a ladder of rates.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    model = load(".")
    wide = model.extend(narrow)      # (batch, n) at 16 kHz -> (batch, 3 * n) at 48 kHz
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.post_hoc import PostHoc
from codecbwe_jax.interop.torch.parts.resample import Resample
from codecbwe_jax.interop.torch.parts.spectrum import Spectrum
from codecbwe_jax.interop.torch.parts.streams import Streams, rectangular, seen


class MsBwe(PostHoc):
    """Multi-stage extension (after arXiv 2406.02250): a stage for each step of a ladder."""

    ladder = (8000, 12000, 16000, 24000, 32000, 48000)

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        c, first, last = config, self.input_rate, self.output_rate
        steps = [r for r in self.ladder if first <= r <= last and (r != 32000 or r == last)]
        self.bins = c["n_fft"] // 2 + 1
        self.known = self.edge(first)
        self.stages = []
        for low, high in itertools.pairwise(steps):
            setattr(self, f"stage_{low}", Streams(c, (self.edge(low), self.edge(high))))
            self.stages.append(f"stage_{low}")
        self.up = Resample(first, 48000, "hann24")
        self.down = Resample(48000, last, "hann24") if last != 48000 else nn.Identity()
        self.spectrum = Spectrum(c["n_fft"], c["hop_length"], c["win_length"])

    def edge(self, rate: int) -> int:
        """First bin above what a rate holds."""
        if rate == 48000:
            return self.bins
        return math.ceil(rate / 2 * self.config["n_fft"] / 48000)

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        parts = [x[:, : self.known] for x in self.spectrum(self.up(waveform))]
        for name in self.stages:
            given = [functional.pad(x, (0, 0, 0, self.bins - x.shape[1])) for x in parts]
            features = seen(*given, self.config["phase_floor"])
            new = rectangular(*getattr(self, name)(*features))
            parts = [torch.cat(pair, 1) for pair in zip(parts, new, strict=True)]
        missing = (0, 0, 0, self.bins - parts[0].shape[1])
        return self.down(self.spectrum.inverse(*(functional.pad(x, missing) for x in parts)))


load = MsBwe.load
