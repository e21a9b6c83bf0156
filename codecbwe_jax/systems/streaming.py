"""What systems that run on a stream have in common."""

from __future__ import annotations

import abc
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from codecbwe_jax.errors import UserError
from codecbwe_jax.nn import causal
from codecbwe_jax.systems.base import OneNetwork, Params, Regression
from codecbwe_jax.systems.sampling import Sampling

INPUT_RATE = 16000
OUTPUT_RATES = (32000, 48000)


class StreamingSystem(OneNetwork, Regression):
    """A causal network that takes whole frames and carries its past as an explicit state.

    A whole waveform and a stream of frames go through the same network, from the same state:
    `[B, n]` at input_rate -> `[B, n * output_rate / input_rate]`.
    """

    one_rate: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def frame_length(self) -> int:
        """Input samples of a frame."""

    @property
    @abc.abstractmethod
    def lag(self) -> int:
        """Output samples by which what the network returns is behind its input."""

    def __post_init__(self) -> None:
        if self.input_rate != INPUT_RATE or self.output_rate not in OUTPUT_RATES:
            raise UserError(
                f"{self.input_rate} -> {self.output_rate} Hz: streaming systems take {INPUT_RATE} "
                f"Hz alone and give {' or '.join(map(str, OUTPUT_RATES))} Hz"
            )

    @abc.abstractmethod
    def interpolate(self, inputs: jax.Array) -> jax.Array:
        """What a stream is without extension: `[B, n]` -> `[B, n * output_rate / input_rate]`,
        `lag` samples behind the input, no more than two frames of whose past it sees."""

    @property
    def delay(self) -> int:
        """A frame, less the sample that completes it, and the lag."""
        return self.frame_length + math.ceil(self.lag * self.input_rate / self.output_rate)

    @property
    def alignment(self) -> int:
        return self.frame_length

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct]:
        return (jax.ShapeDtypeStruct((1, self.frame_length), jnp.float32),)

    def begin(self, params: Params, batch: int = 1) -> causal.State:
        """The state before the first frame."""
        frame = jnp.zeros((batch, self.frame_length), jnp.float32)
        return causal.begin(self.network, params, frame)

    def step(
        self, params: Params, state: causal.State, frames: jax.Array
    ) -> tuple[causal.State, jax.Array]:
        """Whole frames of a stream.

        Args:
          params: see `folded`.
          state: from `begin` or the step before.
          frames: `[B, k * frame_length]`.

        Returns:
          The next state, of the same shapes, and `[B, k * frame_length * output_rate /
          input_rate]`, `lag` samples behind the input.
        """
        variables = {"params": params, "stream": state}
        out, moved = self.network.apply(variables, frames, mutable=["stream"])
        return moved["stream"], out

    def folded(self, params: Params) -> Params:
        """Parameters for `step` alone, quicker to run."""
        return causal.folded(params)

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at input_rate -> `[B, ceil(n * output_rate / input_rate)]`."""
        padded, kept = self.framed(inputs)
        return self.network.bind({"params": params})(padded)[:, kept]

    def framed(self, inputs: jax.Array) -> tuple[jax.Array, slice]:
        """A whole waveform in whole frames, and where the output of the network without its lag is
        in what it gives of them."""
        samples = inputs.shape[1]
        total = math.ceil(samples * self.output_rate / self.input_rate)
        needed = math.ceil((total + self.lag) * self.input_rate / self.output_rate)
        frames = math.ceil(needed / self.frame_length)
        padded = jnp.pad(inputs, ((0, 0), (0, frames * self.frame_length - samples)))
        return padded, slice(self.lag, self.lag + total)
