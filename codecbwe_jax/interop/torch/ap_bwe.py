"""AP-BWE in PyTorch: amplitude and phase spectra by two ConvNeXt streams.

Weights have the names of yxlu-0102/AP-BWE.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    model = load(".")
    wide = model.extend(narrow)      # (batch, n) at 16 kHz -> (batch, 3 * n) at 48 kHz
"""

from __future__ import annotations

import torch

from codecbwe_jax.interop.torch.parts.post_hoc import PostHoc
from codecbwe_jax.interop.torch.parts.resample import Resample
from codecbwe_jax.interop.torch.parts.spectrum import Spectrum
from codecbwe_jax.interop.torch.parts.streams import Streams, rectangular, seen


class ApBwe(PostHoc):
    """AP-BWE (arXiv 2401.06387), under the original's names."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        c = config
        streams = Streams(c, (0, c["n_fft"] // 2 + 1))
        for name, part in streams.named_children():
            setattr(self, name, part)
        self.new = streams.new
        self.upsample = Resample(self.input_rate, self.output_rate, c["resampler"])
        self.spectrum = Spectrum(c["n_fft"], c["hop_length"], c["win_length"])

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.resynthesise(self.upsample(waveform))

    network = Streams.forward

    def resynthesise(self, wide: torch.Tensor) -> torch.Tensor:
        """An upsampled waveform (batch, samples) through the network, at output_rate."""
        features = seen(*self.spectrum(wide), self.config["phase_floor"])
        return self.spectrum.inverse(*rectangular(*self.network(*features)))


load = ApBwe.load
