"""MusicHiFi-BWE in PyTorch: a vocoder's residual beside the interpolated waveform.

Weights have the names of huggingface/diffusers' LTX2VocoderWithBWE.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    model = load(".")
    wide = model.extend(narrow)      # (batch, n) at 16 kHz -> (batch, 3 * n) at 48 kHz
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.bigvgan import AntiAliasedSnake, stages, upsampled
from codecbwe_jax.interop.torch.parts.post_hoc import PostHoc
from codecbwe_jax.interop.torch.parts.resample import Resample
from codecbwe_jax.interop.torch.parts.weight_norm import without_weight_norm


class MusicHifiBwe(PostHoc):
    """MusicHiFi-BWE (arXiv 2403.10493), under the names of LTX2VocoderWithBWE."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        c = config
        net = self.bwe_generator = nn.Module()
        net.conv_in = nn.Conv1d(c["n_mels"], c["channels"], 7, padding=3)
        net.upsamplers, net.resnets = stages(c)
        width = c["channels"] // 2 ** len(net.upsamplers)
        net.act_out = AntiAliasedSnake(width)
        net.conv_out = nn.Conv1d(width, 1, 7, padding=3, bias=False)
        bins = c["n_fft"] // 2 + 1
        self.mel_stft = nn.Module()
        self.mel_stft.register_buffer("mel_basis", torch.zeros(c["n_mels"], bins))
        self.mel_stft.stft_fn = nn.Module()
        for name in ("forward_basis", "inverse_basis"):
            self.mel_stft.stft_fn.register_buffer(name, torch.zeros(2 * bins, 1, c["n_fft"]))
        self.upsample = Resample(self.input_rate, self.output_rate, "torchaudio", "replicate")

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        super().take(without_weight_norm(tensors))

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        c, net, hop = self.config, self.bwe_generator, self.config["hop_length"]
        past = functional.pad(waveform[:, None], (c["n_fft"] - hop, 0))
        basis = self.mel_stft.stft_fn.forward_basis
        real, imag = functional.conv1d(past, basis, stride=hop).chunk(2, 1)
        mels = self.mel_stft.mel_basis @ (real.square() + imag.square()).sqrt()
        x = net.conv_in(torch.log(mels.clamp(min=1e-5)))
        x = upsampled(x, net.upsamplers, net.resnets)
        residual = net.conv_out(net.act_out(x))[:, 0]
        return (residual + self.upsample(waveform)).clamp(-1, 1)


load = MusicHifiBwe.load
