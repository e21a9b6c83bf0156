"""What networks that carry their past as an explicit state have in common."""

from __future__ import annotations

import abc
import math

import torch
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.exported import Exported
from codecbwe_jax.interop.torch.parts.waveform import check_waveform
from codecbwe_jax.interop.torch.parts.weight_norm import without_weight_norm


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


class Streaming(Exported, abc.ABC):
    """A network that takes whole frames.

    Args:
      config: the "system" part of config.json.

    Attributes:
      frame_length: input samples of a frame.
      lag: output samples by which what comes out is behind the input.
    """

    frame_length = 160
    lag: int

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.ratio = config["output_rate"] // config["input_rate"]

    @abc.abstractmethod
    def run(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        """The network: whole frames (batch, n) -> (batch, n * ratio), `lag` behind them."""

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Frames (batch, n) -> (batch, n * ratio), then the next state.

        Raises:
          ValueError: if these are no whole frames of finite floats.
        """
        if not torch.jit.is_tracing():
            of = f"(batch, samples, a multiple of {self.frame_length})"
            check_waveform(x, of, self.frame_length)
        memory = Memory(state or None)
        return (self.run(x, memory), *memory.new)

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        super().take(without_weight_norm(tensors))

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
        check_waveform(waveform, "(batch, samples)")
        samples = waveform.shape[1]
        needed = samples + math.ceil(self.lag / self.ratio)
        x = functional.pad(waveform, (0, needed - samples + -needed % self.frame_length))
        return self.run(x, Memory(None))[:, self.lag : self.lag + samples * self.ratio]
