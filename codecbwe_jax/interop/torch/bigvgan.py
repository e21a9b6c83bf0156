"""BigVGAN in PyTorch: a vocoder, from log-mels to their waveform.

Weights have the names of NVIDIA/BigVGAN.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    model = load(".")
    again = model.extend(waveform)      # (batch, n) at 48 kHz, of its mels
    wave = model.decode(log_mels)       # (batch, frames, mels) -> (batch, frames * hop_length)
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.bigvgan import AntiAliasedSnake, stages, upsampled
from codecbwe_jax.interop.torch.parts.post_hoc import PostHoc
from codecbwe_jax.interop.torch.parts.spectrum import Spectrum
from codecbwe_jax.interop.torch.parts.weight_norm import without_weight_norm


class Bigvgan(PostHoc):
    """BigVGAN (arXiv 2206.04658)."""

    def __init__(self, config: dict) -> None:
        super().__init__({**config, **dict.fromkeys(("input_rate", "output_rate"), config["rate"])})
        c = config
        self.conv_pre = nn.Conv1d(c["n_mels"], c["channels"], 7, padding=3)
        self.ups, self.resblocks = stages(c)
        width = c["channels"] // 2 ** len(self.ups)
        self.activation_post = AntiAliasedSnake(width)
        self.conv_post = nn.Conv1d(width, 1, 7, padding=3)
        self.register_buffer("mel_basis", torch.zeros(c["n_mels"], c["n_fft"] // 2 + 1))
        self.spectrum = Spectrum(c["n_fft"], c["hop_length"])

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        plain = without_weight_norm(tensors)
        super().take({renamed(name): tensor for name, tensor in plain.items()})

    def analyse(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> natural log-mels (batch, samples // hop_length, mels)."""
        c, hop = self.config, self.config["hop_length"]
        side = (c["n_fft"] - hop) // 2
        padded = functional.pad(waveform[:, None], (side, side), mode="reflect")
        real, imag = functional.conv1d(padded, self.spectrum.analysis, stride=hop).chunk(2, 1)
        magnitude = (real.square() + imag.square() + c["power_floor"]).sqrt()
        return torch.log((self.mel_basis @ magnitude).clamp(min=1e-5)).transpose(1, 2)

    def decode(self, log_mels: torch.Tensor) -> torch.Tensor:
        """(batch, frames, mels) -> (batch, frames * hop_length)."""
        x = upsampled(self.conv_pre(log_mels.transpose(1, 2)), self.ups, self.resblocks)
        wave = torch.tanh(self.conv_post(self.activation_post(x))[:, 0])
        # an odd kernel less its factor gives a sample more
        return wave[:, : log_mels.shape[1] * self.config["hop_length"]]

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.decode(self.analyse(waveform))


def renamed(name: str) -> str:
    """A name of a checkpoint as it is here: a stage is one layer, activations are two lists."""
    name = re.sub(r"^ups\.(\d+)\.0\.", r"ups.\1.", name).replace("lowpass.filter", "filter")
    found = re.match(r"(resblocks\.\d+\.)activations\.(\d+)(\..*)", name)
    if not found:
        return name
    place, rest = divmod(int(found[2]), 2)
    return f"{found[1]}acts{rest + 1}.{place}{found[3]}"


load = Bigvgan.load
