"""What networks from waveform to waveform have in common.

Any length from one sample gives exactly `round(samples * output_rate / input_rate)`.
"""

from __future__ import annotations

import abc

import torch
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.exported import Exported
from codecbwe_jax.interop.torch.parts.waveform import check_waveform


class PostHoc(Exported, abc.ABC):
    """A network that extends a whole waveform.

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

    @abc.abstractmethod
    def run(self, waveform: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        """The network: (batch, samples) at input_rate -> at output_rate, of its own length; what
        `forward` is given beside the waveform comes after it."""

    def forward(self, waveform: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at input_rate -> (batch, round(samples * output_rate / input_rate)).

        The waveform is continued at both ends by reflection, so that the network has its context.

        Raises:
          ValueError: if the waveform is of another shape or type, or not finite.
        """
        if not torch.jit.is_tracing():
            check_waveform(waveform, f"(batch, samples) at {self.input_rate} Hz")
        samples = waveform.shape[1]
        whole = reflected(waveform, self.context)
        whole = functional.pad(whole, (0, -whole.shape[1] % self.alignment))
        first = self.context * self.output_rate // self.input_rate
        length = scaled(samples, self.output_rate, self.input_rate)
        return self.run(whole, *beside)[:, first : first + length]

    @torch.inference_mode()
    def extend(self, waveform: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        """The same without gradients."""
        return self(waveform, *beside)


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
