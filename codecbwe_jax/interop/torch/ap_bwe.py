"""AP-BWE in PyTorch: the network and the path from a narrow-band to a wide-band waveform.

Stands alone: it needs torch and the `config.json` and `model.safetensors` beside it. Weights have
the names of the original (yxlu-0102/AP-BWE, MIT; arXiv 2401.06387).

    from ap_bwe import ApBwe
    model = ApBwe.load(".")
    wide = model.extend(narrow)      # (batch, samples) at 16 kHz -> (batch, samples) at 48 kHz
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import torch
from torch import nn

AMPLITUDE_FLOOR = 1e-4
# (zero crossings on each side, roll-off, Kaiser beta or None for a Hann window)
RESAMPLERS = {
    "torchaudio": (6, 0.99, None),
    "hann24": (24, 0.97, None),
    "kaiser16": (16, 0.945, 14.769656459379492),
}


class ConvNeXtBlock(nn.Module):
    """(batch, channels, frames) -> the same."""

    def __init__(self, channels: int, layer_scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 3 * channels)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(3 * channels, channels)
        self.gamma = nn.Parameter(layer_scale * torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.dwconv(x).transpose(1, 2))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.transpose(1, 2)


class ApBwe(nn.Module):
    """The network, and `extend` for waveforms.

    Args:
      config: the "system" part of config.json.
    """

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.config = config
        channels, layers = config["channels"], config["layers"]
        bins = config["n_fft"] // 2 + 1
        for stream in ("mag", "pha"):
            blocks = [ConvNeXtBlock(channels, 1 / layers) for _ in range(layers)]
            setattr(self, f"conv_pre_{stream}", nn.Conv1d(bins, channels, 7, padding=3))
            setattr(self, f"norm_pre_{stream}", nn.LayerNorm(channels, eps=1e-6))
            setattr(self, f"convnext_{stream}", nn.ModuleList(blocks))
            setattr(self, f"norm_post_{stream}", nn.LayerNorm(channels, eps=1e-6))
        self.linear_post_mag = nn.Linear(channels, bins)
        self.linear_post_pha_r = nn.Linear(channels, bins)
        self.linear_post_pha_i = nn.Linear(channels, bins)

    @classmethod
    def load(cls, folder: str | Path) -> ApBwe:
        """The model of an exported folder, in evaluation mode."""
        folder = Path(folder)
        model = cls(json.loads((folder / "config.json").read_text())["system"])
        model.load_state_dict(read_safetensors(folder / "model.safetensors"))
        return model.eval()

    def forward(
        self, log_amplitude: torch.Tensor, phase: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Narrow-band -> wide-band (log-amplitude, phase), each (batch, bins, frames)."""
        mag = self._norm(self.norm_pre_mag, self.conv_pre_mag(log_amplitude))
        pha = self._norm(self.norm_pre_pha, self.conv_pre_pha(phase))
        for mag_block, pha_block in zip(self.convnext_mag, self.convnext_pha, strict=True):
            mag = mag + pha
            pha = pha + mag
            mag, pha = mag_block(mag), pha_block(pha)
        mag = self.norm_post_mag(mag.transpose(1, 2))
        pha = self.norm_post_pha(pha.transpose(1, 2))
        residual = self.linear_post_mag(mag).transpose(1, 2)
        angle = torch.atan2(self.linear_post_pha_i(pha), self.linear_post_pha_r(pha))
        return log_amplitude + residual, angle.transpose(1, 2)

    @staticmethod
    def _norm(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
        return norm(x.transpose(1, 2)).transpose(1, 2)

    @torch.inference_mode()
    def extend(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at input_rate -> (batch, hop * (samples' // hop)) at output_rate."""
        return self.resynthesise(self.upsample(waveform))

    def resynthesise(self, wide: torch.Tensor) -> torch.Tensor:
        """An upsampled waveform (batch, samples) through the network, at output_rate."""
        settings = self.stft_settings(wide)
        spectrum = torch.stft(wide, **settings, pad_mode="reflect", return_complex=True)
        imag = spectrum.imag.clone()
        imag[:, 0] = imag[:, -1] = 0.0  # +0.0, so that the phase is 0 or +pi
        phase = torch.atan2(imag, spectrum.real)
        log_amplitude, phase = self(torch.log(spectrum.abs() + AMPLITUDE_FLOOR), phase)
        return torch.istft(torch.polar(torch.exp(log_amplitude), phase), **settings)

    def stft_settings(self, like: torch.Tensor) -> dict:
        """Arguments of torch.stft and torch.istft."""
        c = self.config
        window = torch.hann_window(c["win_length"], device=like.device, dtype=like.dtype)
        return {
            "n_fft": c["n_fft"],
            "hop_length": c["hop_length"],
            "win_length": c["win_length"],
            "window": window,
            "center": True,
        }

    def upsample(self, waveform: torch.Tensor) -> torch.Tensor:
        """Windowed-sinc resampling from input_rate to output_rate."""
        c = self.config
        kernel, width, source, target = sinc_kernel(
            c["input_rate"], c["output_rate"], *RESAMPLERS[c["resampler"]]
        )
        kernel = kernel.to(waveform)[:, None]
        padded = nn.functional.pad(waveform, (width, width + source))
        y = nn.functional.conv1d(padded[:, None], kernel, stride=source)
        y = y.transpose(1, 2).reshape(len(waveform), -1)
        return y[:, : math.ceil(waveform.shape[1] * target / source)]


def sinc_kernel(
    from_rate: int, to_rate: int, crossings: int, rolloff: float, beta: float | None
) -> tuple[torch.Tensor, int, int, int]:
    """(kernel (phases, taps), samples of context, stride, phases) of a polyphase resampler."""
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


def read_safetensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Float32 tensors of a safetensors file: a JSON header, then the data."""
    blob = bytearray(Path(path).read_bytes())
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] != "F32":
            raise ValueError(f"{name} is {entry['dtype']}; this file holds float32 only")
        flat = torch.frombuffer(blob[begin:end], dtype=torch.float32)
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors
