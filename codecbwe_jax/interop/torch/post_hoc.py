"""Post-hoc bandwidth extension in PyTorch: from a narrow-band to a wide-band waveform.

Stands alone: it needs torch and the `config.json` and `model.safetensors` beside it. Weights have
the names of the originals, where there are any (yxlu-0102/AP-BWE, brentspell/hifi-gan-bwe,
huggingface/diffusers LTX2VocoderWithBWE).

    from post_hoc import load
    model = load(".")
    wide = model.extend(narrow)      # (batch, n) at 16 kHz -> (batch, 3 * n) at 48 kHz

Any length from one sample gives exactly `round(samples * output_rate / input_rate)`. Spectra are
matrix products, which every exporter knows.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

AMPLITUDE_FLOOR = 1e-4
# (zero crossings on each side, roll-off, Kaiser beta or None for a Hann window)
RESAMPLERS = {
    "torchaudio": (6, 0.99, None),
    "hann24": (24, 0.97, None),
    "kaiser16": (16, 0.945, 14.769656459379492),
}


class PostHoc(nn.Module):
    """What all have in common.

    Args:
      config: the "system" part of config.json.

    Attributes:
      context: input samples that an output sample depends on, on each side.
      alignment: `run` takes multiples of so many samples.
    """

    context: int
    alignment: int

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.config = config
        self.input_rate, self.output_rate = config["input_rate"], config["output_rate"]

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        """The network: (batch, samples) at input_rate -> at output_rate, of its own length."""
        raise NotImplementedError

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at input_rate -> (batch, round(samples * output_rate / input_rate)).

        The waveform is continued at both ends by reflection, so that the network has its context.

        Raises:
          ValueError: if the waveform is of another shape or type, or not finite.
        """
        if not torch.jit.is_tracing():
            self.check(waveform)
        samples = waveform.shape[1]
        whole = reflected(waveform, self.context)
        whole = functional.pad(whole, (0, -whole.shape[1] % self.alignment))
        first = self.context * self.output_rate // self.input_rate
        length = scaled(samples, self.output_rate, self.input_rate)
        return self.run(whole)[:, first : first + length]

    def check(self, waveform: torch.Tensor) -> None:
        """Raise ValueError if this is no waveform."""
        if waveform.ndim != 2 or not waveform.numel() or not waveform.is_floating_point():
            raise ValueError(
                f"waveform is {waveform.dtype} {list(waveform.shape)}; floats in [-1, 1], (batch, "
                f"samples) at {self.input_rate} Hz, are expected"
            )
        if not waveform.isfinite().all():
            raise ValueError("waveform holds NaN or infinite samples")

    @torch.inference_mode()
    def extend(self, waveform: torch.Tensor) -> torch.Tensor:
        """The same without gradients."""
        return self(waveform)


def reflected(waveform: torch.Tensor, count: int) -> torch.Tensor:
    """(batch, samples) with so many reflected samples at both ends, again and again if need be."""
    samples = torch._shape_as_tensor(waveform)[1]
    period = (2 * samples - 2).clamp(min=1)
    places = torch.arange(-count, samples + count) % period
    places = torch.minimum(places, period - places)
    return waveform[:, places.to(waveform.device)]


def scaled(samples: int, up: int, down: int) -> int:
    """round(samples * up / down), half to even, in operations that a tracer follows."""
    whole, rest = samples * up // down, samples * up % down
    return whole + (2 * rest + whole % 2) // (down + 1)


class Resample(nn.Module):
    """Windowed-sinc resampling: (batch, samples) -> (batch, samples * to / from, rounded up)."""

    def __init__(self, from_rate: int, to_rate: int, design: str, ends: str = "constant") -> None:
        super().__init__()
        kernel, self.width, self.source, self.target = sinc_kernel(
            from_rate, to_rate, *RESAMPLERS[design]
        )
        self.ends = ends
        self.register_buffer("kernel", kernel[:, None], persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        samples = waveform.shape[1]
        side = (self.width, self.width + self.source)
        padded = functional.pad(waveform[:, None], side, mode=self.ends)
        y = functional.conv1d(padded, self.kernel, stride=self.source)
        y = y.transpose(1, 2).flatten(1)
        return y[:, : (samples * self.target + self.source - 1) // self.source]


class Spectrum(nn.Module):
    """Centred short-time Fourier transform with a Hann window, and its inverse."""

    def __init__(self, n_fft: int, hop_length: int, win_length: int | None = None) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        win_length = win_length or n_fft
        left = (n_fft - win_length) // 2
        window = torch.hann_window(win_length, dtype=torch.float64)
        window = functional.pad(window, (left, n_fft - win_length - left))
        n = torch.arange(n_fft, dtype=torch.float64)
        bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
        angle = 2 * math.pi / n_fft * bins[:, None] * n
        forward = torch.cat([torch.cos(angle), -torch.sin(angle)]) * window
        # the bins in the middle stand for their mirror images too
        twice = torch.full((len(bins), 1), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1.0
        inverse = torch.cat([twice * torch.cos(angle), -twice * torch.sin(angle)]) * window / n_fft
        for name, value in (("analysis", forward), ("synthesis", inverse)):
            self.register_buffer(name, value.float()[:, None], persistent=False)
        self.register_buffer("power", window.square().float()[None, None], persistent=False)

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, samples) -> real and imaginary parts, (batch, bins, frames)."""
        side = self.n_fft // 2
        padded = functional.pad(waveform[:, None], (side, side), mode="reflect")
        real, imag = functional.conv1d(padded, self.analysis, stride=self.hop_length).chunk(2, 1)
        edges = torch.ones(imag.shape[1], 1, device=imag.device)
        edges[0] = edges[-1] = 0.0
        # + 0.0: never -0.0, so that the phase of DC is 0 or +pi
        return real, imag * edges + 0.0

    def inverse(self, real: torch.Tensor, imag: torch.Tensor) -> torch.Tensor:
        """Parts (batch, bins, frames) -> (batch, (frames - 1) * hop_length)."""
        parts = torch.cat([real, imag], 1)
        y = functional.conv_transpose1d(parts, self.synthesis, stride=self.hop_length)
        ones = torch.ones_like(real[:1, :1])
        power = functional.conv_transpose1d(ones, self.power, stride=self.hop_length)
        side = self.n_fft // 2
        length = self.hop_length * (real.shape[2] - 1)
        y, power = y[:, 0, side : side + length], power[:, 0, side : side + length]
        return y / torch.where(power > 1e-11, power, torch.ones_like(power))


class ConvNeXtBlock(nn.Module):
    """(batch, channels, frames) -> the same."""

    def __init__(self, channels: int, layer_scale: float, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, inner)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(inner, channels)
        self.gamma = nn.Parameter(layer_scale * torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.dwconv(x).transpose(1, 2))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.transpose(1, 2)


class Streams(nn.Module):
    """AP-BWE's two streams, of amplitudes and phases.

    Args:
      config: "channels", "layers", "n_fft" and "phase_floor".
      new: (first, end) of the bins that are predicted.
    """

    def __init__(self, config: dict, new: tuple[int, int]) -> None:
        super().__init__()
        self.new = new
        channels, layers, bins = config["channels"], config["layers"], config["n_fft"] // 2 + 1
        inputs = {"mag": bins, "pha": 2 * bins if config["phase_floor"] else bins}
        for stream in ("mag", "pha"):
            blocks = [ConvNeXtBlock(channels, 1 / layers, 3 * channels) for _ in range(layers)]
            setattr(self, f"conv_pre_{stream}", nn.Conv1d(inputs[stream], channels, 7, padding=3))
            setattr(self, f"norm_pre_{stream}", nn.LayerNorm(channels, eps=1e-6))
            setattr(self, f"convnext_{stream}", nn.ModuleList(blocks))
            setattr(self, f"norm_post_{stream}", nn.LayerNorm(channels, eps=1e-6))
        count = new[1] - new[0]
        self.linear_post_mag = nn.Linear(channels, count)
        self.linear_post_pha_r = nn.Linear(channels, count)
        self.linear_post_pha_i = nn.Linear(channels, count)

    def forward(
        self, log_amplitude: torch.Tensor, phase: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is seen of a spectrum -> new (log-amplitude, phase), each (batch, bins, frames)."""
        mag = normalised(self.norm_pre_mag, self.conv_pre_mag(log_amplitude))
        pha = normalised(self.norm_pre_pha, self.conv_pre_pha(phase))
        for mag_block, pha_block in zip(self.convnext_mag, self.convnext_pha, strict=True):
            mag = mag + pha
            pha = pha + mag
            mag, pha = mag_block(mag), pha_block(pha)
        mag = self.norm_post_mag(mag.transpose(1, 2))
        pha = self.norm_post_pha(pha.transpose(1, 2))
        residual = self.linear_post_mag(mag).transpose(1, 2)
        angle = angle_of(self.linear_post_pha_r(pha), self.linear_post_pha_i(pha))
        first, end = self.new
        return log_amplitude[:, first:end] + residual, angle.transpose(1, 2)


def normalised(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    """A norm over the channels of (batch, channels, frames)."""
    return norm(x.transpose(1, 2)).transpose(1, 2)


def seen(
    real: torch.Tensor, imag: torch.Tensor, phase_floor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the two streams see of a spectrum (batch, bins, frames): log-amplitude and phase.

    Without a floor, as in the original, the phase is the angle of every bin. With one, a share of
    the frame's largest magnitude, no magnitude is below it, and the phase is its cosines and then
    its sines (batch, 2 * bins, frames): those of 0 up to the floor, the bin's own from twice the
    floor on, and on a straight line in between.
    """
    magnitude = (real.square() + imag.square()).sqrt()
    if not phase_floor:
        return torch.log(magnitude + AMPLITUDE_FLOOR), angle_of(real, imag)
    floor = (phase_floor * magnitude.amax(1, keepdim=True)).clamp(min=1e-20)
    magnitude = torch.maximum(magnitude, floor)
    own = (magnitude / floor - 1).clamp(0, 1)
    phase = torch.cat([1 - own + own * real / magnitude, own * imag / magnitude], 1)
    return torch.log(magnitude + AMPLITUDE_FLOOR), phase


def angle_of(real: torch.Tensor, imag: torch.Tensor) -> torch.Tensor:
    """In (-pi, pi]. Where the imaginary part is 0, ONNX's stand-in for atan2 gives -pi or NaN."""
    straight = torch.where(real < 0, math.pi, 0.0)
    return torch.where(imag == 0, straight, torch.atan2(imag, real))


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
        log_amplitude, phase = self.network(*seen(*self.spectrum(wide), self.config["phase_floor"]))
        amplitude = torch.exp(log_amplitude)
        return self.spectrum.inverse(amplitude * torch.cos(phase), amplitude * torch.sin(phase))


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
            log_amplitude, phase = getattr(self, name)(*features)
            amplitude = torch.exp(log_amplitude)
            new = amplitude * torch.cos(phase), amplitude * torch.sin(phase)
            parts = [torch.cat(pair, 1) for pair in zip(parts, new, strict=True)]
        missing = (0, 0, 0, self.bins - parts[0].shape[1])
        return self.down(self.spectrum.inverse(*(functional.pad(x, missing) for x in parts)))


class WaveNetLayer(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self._conv = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self._conv_skip = nn.Conv1d(channels // 2, channels, 1)
        self._conv_out = nn.Conv1d(channels // 2, channels, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gate = self._conv(x).chunk(2, 1)
        y = torch.tanh(value) * torch.sigmoid(gate)
        return (self._conv_out(y) + x) * math.sqrt(0.5), self._conv_skip(y)


class HifiGanBwe(PostHoc):
    """HiFi-GAN+ (ICASSP 2021), under the names of brentspell/hifi-gan-bwe."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        channels, stacks, layers = config["channels"], config["stacks"], config["layers"]
        dilations = [config["dilation_base"] ** i for i in range(layers)] * stacks
        self.side = sum(dilations)
        self._wavenet = nn.Module()
        self._wavenet._conv_in = nn.Conv1d(1, channels, 1)
        self._wavenet._layers = nn.ModuleList(WaveNetLayer(channels, d) for d in dilations)
        self._wavenet._conv_out = nn.Conv1d(channels, 1, 1)
        self.register_buffer("sample_rate", torch.tensor(self.output_rate))
        self.upsample = Resample(self.input_rate, self.output_rate, config["resampler"])

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        net, wide = self._wavenet, self.upsample(waveform)
        x, total = net._conv_in(functional.pad(wide[:, None], (self.side, self.side))), 0.0
        for layer in net._layers:
            x, skip = layer(x)
            total = total + skip
        y = torch.tanh(net._conv_out(total * math.sqrt(1 / len(net._layers))))[:, 0]
        return y[:, self.side : self.side + wide.shape[1]]


class Snake(nn.Module):
    """SnakeBeta at the double rate between two filters, which are buffers as in the original."""

    class Beta(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.alpha = nn.Parameter(torch.zeros(channels))
            self.beta = nn.Parameter(torch.zeros(channels))

    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("filter", torch.zeros(1, 1, 12))

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.act = Snake.Beta(channels)
        self.upsample, self.downsample = Snake.Filter(), Snake.Filter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = self.upsample.filter.expand(self.channels, -1, -1)
        x = functional.pad(x, (5, 5), mode="replicate")
        x = 2 * functional.conv_transpose1d(x, kernel, stride=2, groups=self.channels)[..., 15:-15]
        alpha, beta = self.act.alpha.exp()[:, None], self.act.beta.exp()[:, None]
        x = x + torch.sin(alpha * x).square() / (beta + 1e-9)
        x = functional.pad(x, (5, 6), mode="replicate")
        kernel = self.downsample.filter.expand(self.channels, -1, -1)
        return functional.conv1d(x, kernel, stride=2, groups=self.channels)


class SnakeResidualBlock(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        for n in (1, 2):
            spreads = dilations if n == 1 else [1] * len(dilations)
            convs = [
                nn.Conv1d(channels, channels, kernel, padding=d * (kernel - 1) // 2, dilation=d)
                for d in spreads
            ]
            setattr(self, f"convs{n}", nn.ModuleList(convs))
            setattr(self, f"acts{n}", nn.ModuleList(Snake(channels) for _ in dilations))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = zip(self.acts1, self.convs1, self.acts2, self.convs2, strict=True)
        for act1, conv1, act2, conv2 in parts:
            x = x + conv2(act2(conv1(act1(x))))
        return x


class MusicHifiBwe(PostHoc):
    """MusicHiFi-BWE (arXiv 2403.10493), under the names of LTX2VocoderWithBWE."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        c, width = config, config["channels"]
        net = self.bwe_generator = nn.Module()
        net.conv_in = nn.Conv1d(c["n_mels"], width, 7, padding=3)
        net.upsamplers, net.resnets = nn.ModuleList(), nn.ModuleList()
        for factor, taps in zip(c["up_factors"], c["up_kernels"], strict=True):
            side = (taps - factor) // 2
            net.upsamplers.append(nn.ConvTranspose1d(width, width // 2, taps, factor, side))
            width //= 2
            for kernel, dilations in zip(c["kernels"], c["dilations"], strict=True):
                net.resnets.append(SnakeResidualBlock(width, kernel, dilations))
        net.act_out = Snake(width)
        net.conv_out = nn.Conv1d(width, 1, 7, padding=3, bias=False)
        bins = c["n_fft"] // 2 + 1
        self.mel_stft = nn.Module()
        self.mel_stft.register_buffer("mel_basis", torch.zeros(c["n_mels"], bins))
        self.mel_stft.stft_fn = nn.Module()
        for name in ("forward_basis", "inverse_basis"):
            self.mel_stft.stft_fn.register_buffer(name, torch.zeros(2 * bins, 1, c["n_fft"]))
        self.upsample = Resample(self.input_rate, self.output_rate, "torchaudio", "replicate")

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        c, net, hop = self.config, self.bwe_generator, self.config["hop_length"]
        past = functional.pad(waveform[:, None], (c["n_fft"] - hop, 0))
        basis = self.mel_stft.stft_fn.forward_basis
        real, imag = functional.conv1d(past, basis, stride=hop).chunk(2, 1)
        mels = self.mel_stft.mel_basis @ (real.square() + imag.square()).sqrt()
        x, count = net.conv_in(torch.log(mels.clamp(min=1e-5))), len(c["kernels"])
        for i, up in enumerate(net.upsamplers):
            x = up(x)
            x = sum(block(x) for block in net.resnets[i * count : (i + 1) * count]) / count
        residual = net.conv_out(net.act_out(x))[:, 0]
        return (residual + self.upsample(waveform)).clamp(-1, 1)


class Backbone(nn.Module):
    """Vocos' ConvNeXt backbone: (batch, C, frames) -> (batch, frames, size)."""

    def __init__(self, inputs: int, size: int, intermediate: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(inputs, size, 7, padding=3)
        self.norm = nn.LayerNorm(size, eps=1e-6)
        blocks = [ConvNeXtBlock(size, 1 / layers, intermediate) for _ in range(layers)]
        self.convnext = nn.ModuleList(blocks)
        self.final_layer_norm = nn.LayerNorm(size, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = normalised(self.norm, self.embed(x))
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x.transpose(1, 2))


class HighBand(PostHoc):
    """The interpolated input, kept, plus what it lacks."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        c, self.ratio = config, self.output_rate // self.input_rate
        window = round(0.02 * self.input_rate)
        self.hop, self.first = window // 4, round(0.925 * self.input_rate / 2 * 0.02)
        self.heads, self.bins = 1, window * self.ratio // 2 - self.first
        wide = window * self.ratio
        if c["synthesis"] == "pqmf":
            self.heads, self.bins, wide = self.ratio - 1, window // 2 + 1, window
            passing = high_pass_taps(self.output_rate, self.input_rate / 2)
            self.register_buffer("joining", pqmf_synthesis(self.ratio), persistent=False)
            self.register_buffer("passing", passing[None, None], persistent=False)
        self.seen = int(c["seen"] * window / 2) + 1
        self.backbone = Backbone(3 * self.seen, c["size"], c["intermediate"], c["layers"])
        self.head = nn.Linear(c["size"], 2 * self.heads * self.bins)
        self.narrow, self.wide = Spectrum(window, self.hop), Spectrum(wide, wide // 4)
        self.upsample = Resample(self.input_rate, self.output_rate, "hann24")

    def run(self, waveform: torch.Tensor) -> torch.Tensor:
        real, imag = (x[:, : self.seen] for x in self.narrow(waveform))
        power = real.square() + imag.square() + 1e-10
        parts = (0.5 * torch.log(power), power**-0.35 * real, power**-0.35 * imag)
        y = self.head(self.backbone(torch.cat(parts, 1)))
        return self.upsample(waveform) + self.config["gain"] * self.synthesise(y)

    def synthesise(self, y: torch.Tensor) -> torch.Tensor:
        """Outputs of the network (batch, frames, heads * 2 * bins) -> (batch, samples)."""
        waves = []
        for head in y.transpose(1, 2).chunk(self.heads, 1):
            log_magnitude, phase = head.chunk(2, 1)
            magnitude = torch.exp(log_magnitude).clamp(max=100.0)
            parts = magnitude * torch.cos(phase), magnitude * torch.sin(phase)
            if self.heads == 1 and self.config["synthesis"] == "stft":
                parts = tuple(functional.pad(x, (0, 0, self.first, 1)) for x in parts)
            waves.append(self.wide.inverse(*parts))
        if self.config["synthesis"] == "stft":
            return waves[0]
        bands = torch.stack([torch.zeros_like(waves[0]), *waves], 1)
        side = (self.joining.shape[-1] - 1) // 2
        joined = functional.conv_transpose1d(bands, self.joining, stride=self.ratio)
        joined = joined[..., side : side + bands.shape[2] * self.ratio]
        return functional.conv1d(joined, self.passing, padding=self.passing.shape[-1] // 2)[:, 0]


def pqmf_synthesis(bands: int, taps: int = 192, beta: float = 9.0) -> torch.Tensor:
    """Synthesis filters of a cosine-modulated bank: (bands, 1, taps + 1)."""
    cutoff = 1.0 / (2 * bands) + 1.0543 / taps
    n = torch.arange(taps + 1, dtype=torch.float64) - taps / 2
    window = torch.kaiser_window(taps + 1, periodic=False, beta=beta, dtype=torch.float64)
    prototype = cutoff * torch.sinc(cutoff * n) * window
    k = torch.arange(bands, dtype=torch.float64)[:, None]
    angle = (2 * k + 1) * math.pi / (2 * bands) * n - (-1.0) ** k * math.pi / 4
    return (2 * bands * prototype * torch.cos(angle)).float()[:, None].flip(-1)


def high_pass_taps(rate: int, edge: float) -> torch.Tensor:
    """A Kaiser-windowed high-pass, 100 dB down at seven eighths of an edge in Hz, passing from
    the edge on."""
    stop, attenuation = 0.875 * edge, 100.0
    width = (edge - stop) / (rate / 2)
    count = math.ceil((attenuation - 7.95) / 2.285 / (math.pi * width)) + 1
    count |= 1
    beta = 0.1102 * (attenuation - 8.7)
    n = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    cutoff = (stop + edge) / rate
    low = cutoff * torch.sinc(cutoff * n)
    window = torch.kaiser_window(count, periodic=False, beta=beta, dtype=torch.float64)
    taps = ((n == 0).double() - low) * window
    # of gain 1 at Nyquist
    return (taps / (taps * torch.cos(math.pi * n)).sum()).float()


TYPES = {"F32": torch.float32, "I64": torch.int64}
SYSTEMS = {
    "ap_bwe": ApBwe,
    "ms_bwe": MsBwe,
    "hifi_gan_bwe": HifiGanBwe,
    "musichifi_bwe": MusicHifiBwe,
    "high_band": HighBand,
}


def load(folder: str | Path) -> PostHoc:
    """The model of an exported folder, in evaluation mode."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = SYSTEMS[config["system"]["name"]](config["system"])
    model.context, model.alignment = config["running"]["context"], config["running"]["alignment"]
    tensors = read_safetensors(folder / "model.safetensors")
    for key in [key for key in tensors if key.endswith("weight_v")]:
        v, g = tensors.pop(key), tensors.pop(key.removesuffix("v") + "g")
        norm = v.flatten(1).norm(dim=1).reshape(g.shape)
        tensors[key.removesuffix("_v")] = v * (g / norm)
    model.load_state_dict(tensors)
    return model.requires_grad_(False).eval()


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
    """Tensors of a safetensors file: a JSON header, then the data."""
    blob = bytearray(Path(path).read_bytes())
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] not in TYPES:
            raise ValueError(f"{name} is {entry['dtype']}; this file knows {', '.join(TYPES)}")
        flat = torch.frombuffer(blob[begin:end], dtype=TYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors
