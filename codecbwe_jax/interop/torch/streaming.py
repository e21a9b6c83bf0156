"""Streaming bandwidth extension in PyTorch: a step with its state outside.

Stands alone: it needs torch and the `config.json` and `model.safetensors` beside it.

    from streaming import load
    model = load(".")
    state = model.begin()
    wide, *state = model(frames, *state)     # (batch, k * frame_length) at 16 kHz

`wide` is `model.lag` samples behind the input; `model.extend` aligns a whole waveform.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

DILATIONS = ((1,), (1, 3), (1, 3, 9), (1, 3, 9))


class Memory:
    """What a step is given of the past, in the order in which it asks, and what it leaves."""

    def __init__(self, old: tuple[torch.Tensor, ...] | None) -> None:
        self.old = None if old is None else list(old)
        self.first: list[torch.Tensor] = []
        self.new: list[torch.Tensor] = []

    def recall(self, at_first: torch.Tensor) -> torch.Tensor:
        """What the last step left here; `at_first` at a stream's beginning."""
        self.first.append(at_first)
        return at_first if self.old is None else self.old[len(self.first) - 1]

    def with_past(self, x: torch.Tensor, frames: int) -> torch.Tensor:
        """(..., T) -> (..., frames + T): the last frames of what came before in front."""
        past = self.recall(x.new_zeros(*x.shape[:-1], frames))
        joined = torch.cat([past, x], dim=-1)
        self.new.append(joined[..., joined.shape[-1] - frames :])
        return joined


class Streaming(nn.Module):
    """A network that takes whole frames; see the head of this file.

    Args:
      config: the "system" part of config.json.
    """

    frame_length = 160

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.ratio = config["output_rate"] // config["input_rate"]

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Frames (batch, n) -> (batch, n * ratio), then the next state.

        Raises:
          ValueError: if these are no whole frames of finite floats.
        """
        if not torch.jit.is_tracing():
            self.check(x, self.frame_length)
        memory = Memory(state or None)
        return (self.run(x, memory), *memory.new)

    def check(self, x: torch.Tensor, multiple: int = 1) -> None:
        """Raise ValueError if this is no waveform of so many samples, or a multiple of them."""
        whole = x.ndim == 2 and x.numel() and x.shape[1] % multiple == 0
        if not whole or not x.is_floating_point():
            of = f", a multiple of {multiple}" if multiple > 1 else ""
            raise ValueError(
                f"waveform is {x.dtype} {list(x.shape)}; floats in [-1, 1], (batch, samples{of}), "
                "are expected"
            )
        if not x.isfinite().all():
            raise ValueError("waveform holds NaN or infinite samples")

    def prepare(self) -> None:
        """What follows from loaded weights."""

    @torch.no_grad()
    def begin(self, batch: int = 1) -> tuple[torch.Tensor, ...]:
        """The state before the first frame."""
        memory = Memory(None)
        self.run(next(self.parameters()).new_zeros(batch, self.frame_length), memory)
        return tuple(memory.first)

    @torch.inference_mode()
    def extend(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples * ratio), aligned.

        Raises:
          ValueError: if this is no waveform of finite floats.
        """
        self.check(waveform)
        samples = waveform.shape[1]
        needed = samples + math.ceil(self.lag / self.ratio)
        x = functional.pad(waveform, (0, needed - samples + -needed % self.frame_length))
        return self.run(x, Memory(None))[:, self.lag : self.lag + samples * self.ratio]


class CausalConv(nn.Module):
    """(batch, C, T) -> (batch, features, T / stride), seeing no later frame."""

    def __init__(
        self,
        inputs: int,
        features: int,
        taps: int,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, features, taps, stride, dilation=dilation, bias=bias)
        self.past = (taps - 1) * dilation + 1 - stride

    def forward(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        return self.conv(memory.with_past(x, self.past) if self.past else x)


class BbwexNet(Streaming):
    """A causal U-Net (after EUSIPCO 2023, BBWEXNet)."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        widths, narrow = config["widths"], config["bottleneck"]
        self.strides = (self.ratio, 4, 5, 8)
        kernel, self.width = sinc_kernel(self.ratio)
        self.lag = self.ratio * self.width
        self.register_buffer("kernel", kernel, persistent=False)
        self.conv_in = CausalConv(1, widths[0], 7)
        for i, stride in enumerate(self.strides):
            size = widths[i]
            for side in ("encoder", "decoder"):
                for j, dilation in enumerate(DILATIONS[i]):
                    unit = nn.ModuleDict(
                        {
                            "conv1": CausalConv(size, size, 3, dilation=dilation),
                            "conv2": CausalConv(size, size, 1),
                        }
                    )
                    setattr(self, f"{side}_{i}_unit_{j}", unit)
            below = widths[i + 1]
            setattr(self, f"encoder_{i}_down", CausalConv(size, below, 2 * stride, stride))
            setattr(self, f"decoder_{i}_up", CausalConv(below, size * stride, 2))
        self.squeeze = CausalConv(widths[-1], narrow, 3)
        self.widen = CausalConv(narrow, widths[-1], 3)
        self.conv_out = CausalConv(widths[0], 1, 7)
        self.codes = config["codes"]
        if self.codes:
            self.quantizer = nn.Module()
            self.quantizer.codebooks = nn.Parameter(torch.zeros(self.codes, narrow))

    def run(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        joined = memory.with_past(x, 2 * self.width)[:, None]
        wide = interleaved(functional.conv1d(joined, self.kernel[:, None]))
        y, skips = self.conv_in(wide, memory), []
        for i in range(len(self.strides)):
            y = self.units(y, "encoder", i, memory)
            skips.append(y)
            y = getattr(self, f"encoder_{i}_down")(functional.elu(y), memory)
        y = self.squeeze(functional.elu(y), memory)
        if self.codes:
            y = self.nearest(y)
        y = self.widen(y, memory)
        for i in reversed(range(len(self.strides))):
            y = getattr(self, f"decoder_{i}_up")(functional.elu(y), memory)
            # sample shuffle: channels are phases of the output's channels
            phases = y.reshape(y.shape[0], self.strides[i], -1, y.shape[2])
            y = phases.permute(0, 2, 3, 1).flatten(2) + skips[i]
            y = self.units(y, "decoder", i, memory)
        return (0.1 * self.conv_out(functional.elu(y), memory) + wide)[:, 0]

    def units(self, y: torch.Tensor, side: str, level: int, memory: Memory) -> torch.Tensor:
        for j in range(len(DILATIONS[level])):
            unit = getattr(self, f"{side}_{level}_unit_{j}")
            inner = unit["conv1"](functional.elu(y), memory)
            y = y + unit["conv2"](functional.elu(inner), memory)
        return y

    def nearest(self, y: torch.Tensor) -> torch.Tensor:
        codes, y = self.quantizer.codebooks, y.transpose(1, 2)
        index = (codes.square().sum(1) - 2 * y @ codes.T).argmin(-1)
        return codes[index].transpose(1, 2)


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

    def prepare(self) -> None:
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


def interleaved(y: torch.Tensor) -> torch.Tensor:
    """(batch, phases, T) -> (batch, 1, T * phases)."""
    return y.transpose(1, 2).reshape(y.shape[0], 1, -1)


def sinc_kernel(ratio: int) -> tuple[torch.Tensor, int]:
    """Hann-windowed sinc, 24 zero crossings, roll-off 0.97: (phases, taps), and its look-ahead."""
    width = math.ceil(24 / 0.97)
    taps = torch.arange(-width, width + 1, dtype=torch.float64)
    phases = torch.arange(ratio, dtype=torch.float64)[:, None] / ratio
    t = ((taps - phases) * 0.97).clamp(-24, 24)
    return (torch.sinc(t) * torch.cos(math.pi * t / 48) ** 2 * 0.97).float(), width


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


def load(folder: str | Path) -> Streaming:
    """The model of an exported folder, in evaluation mode."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())["system"]
    model = {"bbwexnet": BbwexNet, "opus_bbwe": OpusBbwe}[config["name"]](config)
    tensors = read_safetensors(folder / "model.safetensors")
    own = model.state_dict()
    state = {}
    for name in own:
        key = name.replace(".conv.", ".")
        norm = key.removesuffix("weight") + "weight_g"
        if norm in tensors:
            v, g = tensors[key.removesuffix("weight") + "weight_v"], tensors[norm]
            state[name] = v * (g / v.flatten(1).norm(dim=1)[:, None, None])
        else:
            state[name] = tensors[key]
    model.load_state_dict(state)
    model.prepare()
    return model.requires_grad_(False).eval()


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
