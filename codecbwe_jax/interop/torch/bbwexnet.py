"""A causal U-Net in PyTorch: a step with its state outside.

In an exported folder this is `model.py`, which needs torch alone:

    from model import load

    model = load(".")
    state = model.begin()
    wide, *state = model(frames, *state)     # (batch, k * frame_length) at 16 kHz

`wide` is `model.lag` samples behind the input; `model.extend` aligns a whole waveform.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.causal_conv import CausalConv
from codecbwe_jax.interop.torch.parts.interleaved import interleaved
from codecbwe_jax.interop.torch.parts.sinc import sinc_kernel
from codecbwe_jax.interop.torch.parts.streaming import Memory, Streaming

# of each level's units
DILATIONS = ((1,), (1, 3), (1, 3, 9), (1, 3, 9))


class BbwexNet(Streaming):
    """A causal U-Net (after EUSIPCO 2023, BBWEXNet)."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        widths, narrow = config["widths"], config["bottleneck"]
        self.strides = (self.ratio, 4, 5, 8)
        kernel, self.width, *_ = sinc_kernel(1, self.ratio, "hann24")
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


load = BbwexNet.load
