"""A native decoder in PyTorch: a speech codec's tokens to a wide-band waveform.

Stands alone: it needs torch and the `config.json` and `model.safetensors` beside it.

    from native import NativeDecoder
    decoder = NativeDecoder.load(".")
    wide = decoder.decode(tokens)    # (batch, frames) integers -> (batch, frames * hop)
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

GROUPS, EPS = 32, 1e-6


class ResidualBlock(nn.Module):
    """(batch, frames, size) -> the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(GROUPS, size, EPS) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv1d(size, size, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.silu(self.norm1(x.mT)))
        return x + self.conv2(F.silu(self.norm2(y))).mT


class TransformerLayer(nn.Module):
    """Attention without positions and a feed-forward, each after RMSNorm."""

    def __init__(self, size: int, intermediate: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(size, EPS)
        self.post_attention_layernorm = nn.RMSNorm(size, EPS)
        width = heads * head_size
        inward = {f"{n}_proj": nn.Linear(size, width, bias=False) for n in "qkv"}
        self.self_attn = nn.ModuleDict(inward | {"o_proj": nn.Linear(width, size, bias=False)})
        shapes = {"fc1": (size, intermediate), "fc2": (intermediate, size)}
        self.mlp = nn.ModuleDict({k: nn.Linear(*v, bias=False) for k, v in shapes.items()})
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.input_layernorm(x)
        q, k, v = (
            self.self_attn[f"{n}_proj"](y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for n in "qkv"
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.self_attn["o_proj"](mixed)
        y = self.mlp["fc1"](self.post_attention_layernorm(x))
        return x + self.mlp["fc2"](F.silu(y))


class Transformer(nn.Module):
    """The codec's backbone: (batch, frames, size) -> the same."""

    def __init__(
        self, size: int, intermediate: int, layers: int, heads: int, head_size: int
    ) -> None:
        super().__init__()
        self.embed = nn.Conv1d(size, size, 7, padding=3)
        self.prior_net = nn.Sequential(ResidualBlock(size), ResidualBlock(size))
        sizes = size, intermediate, heads, head_size
        self.layers = nn.Sequential(*(TransformerLayer(*sizes) for _ in range(layers)))
        self.post_net = nn.Sequential(ResidualBlock(size), ResidualBlock(size))
        self.norm = nn.LayerNorm(size, EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.prior_net(self.embed(x.mT).mT)
        return self.norm(self.post_net(self.layers(x)))


class ConvNeXtBlock(nn.Module):
    """(batch, frames, size) -> the same."""

    def __init__(self, size: int, intermediate: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(size, size, 7, padding=3, groups=size)
        self.norm = nn.LayerNorm(size, EPS)
        self.pwconv1 = nn.Linear(size, intermediate)
        self.pwconv2 = nn.Linear(intermediate, size)
        self.gamma = nn.Parameter(torch.ones(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.dwconv(x.mT).mT)
        return x + self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))


class FrameAttention(nn.Module):
    """Attention of one head over all frames."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, size, EPS)
        self.q, self.k, self.v, self.proj_out = (nn.Conv1d(size, size, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x.mT)
        mixed = F.scaled_dot_product_attention(self.q(y).mT, self.k(y).mT, self.v(y).mT)
        return x + self.proj_out(mixed.mT).mT


class FrameNorm(nn.GroupNorm):
    """GroupNorm of (batch, frames, size)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.mT).mT


class ConvNeXt(nn.Module):
    """Vocos' backbone; with attention before it, WavTokenizer's."""

    def __init__(self, size: int, intermediate: int, layers: int, attention: bool) -> None:
        super().__init__()
        self.embed = nn.Conv1d(size, size, 7, padding=3)
        if attention:
            before, after = ([ResidualBlock(size) for _ in range(2)] for _ in range(2))
            norm = FrameNorm(GROUPS, size, EPS)
            self.pos_net = nn.Sequential(*before, FrameAttention(size), *after, norm)
        else:
            self.pos_net = nn.Identity()
        self.norm = nn.LayerNorm(size, EPS)
        self.convnext = nn.Sequential(*(ConvNeXtBlock(size, intermediate) for _ in range(layers)))
        self.final_layer_norm = nn.LayerNorm(size, EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.pos_net(self.embed(x.mT).mT))
        return self.final_layer_norm(self.convnext(x))


def build_backbone(sizes: dict) -> nn.Module:
    """A backbone from its part of the config."""
    sizes = dict(sizes)
    kind = sizes.pop("kind")
    if kind == "transformer":
        return Transformer(**sizes)
    return ConvNeXt(**sizes, attention=kind == "wavtokenizer")


def istft(x: torch.Tensor, hop_length: int, clip: float) -> torch.Tensor:
    """(batch, frames, log magnitudes and phases) -> (batch, frames * hop_length)."""
    magnitude, phase = x.chunk(2, dim=-1)
    n_fft = x.shape[-1] - 2
    window = torch.hann_window(n_fft, device=x.device)
    spectrum = torch.polar(magnitude.exp().clamp(max=clip), phase)
    frames = torch.fft.irfft(spectrum, n_fft) * window

    def overlap_add(frames: torch.Tensor) -> torch.Tensor:
        length = (frames.shape[1] - 1) * hop_length + n_fft
        sizes = {"kernel_size": (1, n_fft), "stride": (1, hop_length)}
        return F.fold(frames.mT, output_size=(1, length), **sizes)[:, 0, 0]

    side = (n_fft - hop_length) // 2
    envelope = overlap_add(window.square().expand(1, x.shape[1], n_fft))
    return (overlap_add(frames) / envelope.clamp(min=1e-11))[:, side : -side or None]


class IstftHead(nn.Module):
    """(batch, frames, size) -> (batch, frames * hop_length)."""

    def __init__(self, size: int, hop_length: int, n_fft: int, clip: float, hidden: int = 0):
        super().__init__()
        self.hop_length, self.clip = hop_length, clip
        self.linear = nn.Linear(size, n_fft + 2)
        if hidden:
            self.widening_in = nn.Linear(size, hidden)
            self.widening_out = nn.Linear(hidden, n_fft + 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        if hasattr(self, "widening_in"):
            y = y + self.widening_out(F.silu(self.widening_in(x)))
        return istft(y, self.hop_length, self.clip)


class BandsHead(nn.Module):
    """An ISTFT for each band; synthesis by fixed or trained filters."""

    def __init__(
        self, size: int, bands: int, hop_length: int, clip: float, taps: int, trained: bool
    ) -> None:
        super().__init__()
        self.bands, self.hop_length, self.clip = bands, hop_length, clip
        self.linear = nn.Linear(size, bands * (4 * hop_length + 2))
        self.synthesis = nn.Conv1d(bands, 1, taps + 1, padding=taps // 2, bias=False)
        if not trained:  # made here, not read
            kernel = pqmf_synthesis(bands, taps)
            del self.synthesis
            self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = len(x)
        y = self.linear(x).unflatten(-1, (self.bands, -1)).transpose(1, 2).flatten(0, 1)
        waves = istft(y, self.hop_length, self.clip).reshape(batch, self.bands, -1)
        spread = torch.zeros(*waves.shape, self.bands, dtype=x.dtype, device=x.device)
        spread[..., 0] = self.bands * waves
        kernel = self.synthesis.weight if hasattr(self, "synthesis") else self.kernel
        return F.conv1d(spread.flatten(2), kernel, padding=kernel.shape[-1] // 2)[:, 0]


def pqmf_synthesis(bands: int, taps: int) -> torch.Tensor:
    """Synthesis filters (1, bands, taps + 1) of a cosine-modulated filter bank."""
    cutoff = 1 / (2 * bands) + 1.0543 / taps
    n = torch.arange(taps + 1, dtype=torch.float64) - taps / 2
    window = torch.kaiser_window(taps + 1, periodic=False, beta=9.0, dtype=torch.float64)
    prototype = cutoff * torch.sinc(cutoff * n) * window
    k = torch.arange(bands, dtype=torch.float64)[:, None]
    angle = (2 * k + 1) * math.pi / (2 * bands) * n - (-1.0) ** k * math.pi / 4
    return (2 * prototype * torch.cos(angle)).float()[None]


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha on (batch, channels, frames)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sin(self.alpha * x).square() / (self.alpha + 1e-9)


class SnakeBlock(nn.Module):
    """(batch, channels, frames) -> the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(GROUPS, size, EPS) for _ in range(2))
        self.snake1, self.snake2 = Snake(size), Snake(size)
        self.conv1, self.conv2 = (nn.Conv1d(size, size, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(self.snake1(self.norm1(x)))
        return x + self.conv2(self.snake2(self.norm2(y)))


class UpConv(nn.Module):
    """Transposed convolution with weight normalisation, twice the frames."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(size, 1, 1))
        self.weight_v = nn.Parameter(torch.ones(size, size // 2, 8))
        self.bias = nn.Parameter(torch.zeros(size // 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.weight_v.square().sum((1, 2), keepdim=True).sqrt()
        weight = self.weight_v * (self.weight_g / norm)
        return F.conv_transpose1d(x, weight, self.bias, stride=2, padding=3)


class Upsampler(nn.Module):
    """(batch, frames, size) -> (batch, 2 * frames, size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.upsample_layers = nn.ModuleList([UpConv(size)])
        self.resnet_blocks = nn.ModuleList([SnakeBlock(size // 2)])
        self.out_proj = nn.Linear(size // 2, size)
        self.final_snake = Snake(size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.resnet_blocks[0](self.upsample_layers[0](x.mT))
        return self.final_snake(self.out_proj(y.mT).mT).mT


class DualPathHead(nn.Module):
    """One head at half the rate below a crossover, another at the whole rate above it."""

    def __init__(self, size: int, hop_length: int, clip: float, rate: int, cutoff_hz: float):
        super().__init__()
        self.rate, self.cutoff_hz = rate, cutoff_hz
        self.head = IstftHead(size, hop_length, 4 * hop_length, clip)
        self.upsampler = Upsampler(size)
        self.head_48k = IstftHead(size, hop_length, 4 * hop_length, clip)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # with an odd hop an inverse STFT gives one sample more
        samples = x.shape[1] * self.head.hop_length
        low, high = double_rate(self.head(x)[:, :samples]), self.head_48k(self.upsampler(x))
        high = high[:, : 2 * samples]
        taps = 2 * round(1.8 * self.rate / 600.0) + 1
        n = torch.arange(taps, dtype=torch.float64) - taps // 2
        share = self.cutoff_hz / (self.rate / 2)
        window = torch.kaiser_window(taps, periodic=False, beta=5.65, dtype=torch.float64)
        kernel = share * torch.sinc(share * n) * window
        kernel = (kernel / kernel.sum()).to(x)[None, None]
        return high + F.conv1d((low - high)[:, None], kernel, padding=taps // 2)[:, 0]


def double_rate(x: torch.Tensor) -> torch.Tensor:
    """Windowed-sinc resampling by two, as torchaudio's default."""
    crossings, rolloff = 6, 0.99
    width = math.ceil(crossings / rolloff)
    taps = torch.arange(-width, width + 1, dtype=torch.float64)
    phases = torch.arange(2, dtype=torch.float64)[:, None] / 2
    t = ((taps - phases) * rolloff).clamp(-crossings, crossings)
    window = torch.cos(math.pi * t / crossings / 2) ** 2
    kernel = (torch.sinc(t) * window * rolloff).to(x)[:, None]
    y = F.conv1d(F.pad(x, (width, width + 1))[:, None], kernel)
    return y.transpose(1, 2).reshape(len(x), -1)[:, : 2 * x.shape[1]]


def build_head(c: dict, size: int) -> nn.Module:
    """A head from the config of the whole."""
    hop = c["output_rate"] // c["token_rate"]

    def clip(rate: float) -> float:
        return c.get("magnitude_clip") or 100.0 * rate / 16000

    if c["name"] == "native_istft":
        sizes = hop, c["n_fft"] or 4 * hop, clip(c["output_rate"]), c["widening"]
        return IstftHead(size, *sizes)
    if c["name"] == "native_upsampled":
        half = c["output_rate"] / 2
        return DualPathHead(size, hop // 2, clip(half), c["output_rate"], c["crossover_hz"])
    trained = c["name"] == "native_multistream"
    bands = c["bands"]
    return BandsHead(size, bands, hop // bands, clip(c["output_rate"] / bands), c["taps"], trained)


class NativeDecoder(nn.Module):
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

    @classmethod
    def load(cls, folder: str | Path) -> NativeDecoder:
        """The model of an exported folder, in evaluation mode."""
        folder = Path(folder)
        model = cls(json.loads((folder / "config.json").read_text())["system"])
        model.load_state_dict(read_safetensors(folder / "model.safetensors"))
        return model.eval()

    @torch.inference_mode()
    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, frames) integers -> (batch, frames * hop) at the output rate."""
        levels = torch.tensor(self.levels, device=tokens.device)
        basis = torch.cumprod(torch.cat([levels.new_ones(1), levels[:-1]]), 0)
        digits = (tokens[..., None] // basis) % levels
        codes = (digits - levels // 2) / (levels // 2)
        x = self.acoustic_decoder.fc(self.quantizer["project_out"](codes.float()))
        return self.acoustic_decoder.head(self.acoustic_decoder(x))


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
