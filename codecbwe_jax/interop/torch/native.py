"""A native decoder in PyTorch: a speech codec's tokens to a wide-band waveform.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    decoder = load(".")
    wide = decoder.decode(tokens)    # (batch, frames) integers -> (batch, frames * hop)
"""

from __future__ import annotations

import torch
from torch import nn

from codecbwe_jax.interop.torch.parts.bands_head import BandsHead
from codecbwe_jax.interop.torch.parts.dual_path_head import DualPathHead
from codecbwe_jax.interop.torch.parts.exported import Exported
from codecbwe_jax.interop.torch.parts.istft_head import IstftHead
from codecbwe_jax.interop.torch.parts.transformer import Transformer
from codecbwe_jax.interop.torch.parts.vocos import Vocos
from codecbwe_jax.interop.torch.parts.wavtokenizer import WavTokenizer


class NativeDecoder(Exported):
    """The decoder.

    Args:
      config: the "system" part of config.json.
    """

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.levels = config["levels"]
        size = config["backbone"]["size"]
        self.quantizer = nn.ModuleDict(
            {"project_out": nn.Linear(len(self.levels), config["features"])}
        )
        # named as in transformers' codecs, whose backbone has no name of its own
        self.acoustic_decoder = build_backbone(config["backbone"])
        self.acoustic_decoder.fc = nn.Linear(config["features"], size)
        self.acoustic_decoder.head = build_head(config, size)

    @torch.inference_mode()
    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, frames) integers -> (batch, frames * hop) at the output rate."""
        levels = torch.tensor(self.levels, device=tokens.device)
        basis = torch.cumprod(torch.cat([levels.new_ones(1), levels[:-1]]), 0)
        digits = (tokens[..., None] // basis) % levels
        codes = (digits - levels // 2) / (levels // 2)
        x = self.acoustic_decoder.fc(self.quantizer["project_out"](codes.float()))
        return self.acoustic_decoder.head(self.acoustic_decoder(x.mT))


def build_backbone(sizes: dict) -> nn.Module:
    """A backbone, (batch, size, frames) -> (batch, frames, size), from its part of the config."""
    sizes = dict(sizes)
    kind = sizes.pop("kind")
    if kind == "transformer":
        return Transformer(**sizes)
    return {"convnext": Vocos, "wavtokenizer": WavTokenizer}[kind](sizes["size"], **sizes)


def build_head(c: dict, size: int) -> nn.Module:
    """A head from the config of the whole."""
    hop = c["output_rate"] // c["token_rate"]

    def clip(rate: float) -> float:
        return c.get("magnitude_clip") or 100.0 * rate / 16000

    if c["name"] == "native_istft":
        n_fft = c["n_fft"] or 4 * hop
        return IstftHead(size, hop, n_fft, clip(c["output_rate"]), c["widening"])
    if c["name"] == "native_upsampled":
        half = c["output_rate"] / 2
        return DualPathHead(size, hop // 2, clip(half), c["output_rate"], c["crossover_hz"])
    trained = c["name"] == "native_multistream"
    bands = c["bands"]
    return BandsHead(size, bands, hop // bands, clip(c["output_rate"] / bands), c["taps"], trained)


load = NativeDecoder.load
