"""What a system is: the contract between a way to extend bandwidth and everything above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol

import jax
import numpy as np

from codecbwe_jax.errors import UserError
from codecbwe_jax.weights.rules import Rule

Params = Mapping[str, Any]
Features = dict[str, jax.Array]


class System(Protocol):
    """A way to extend bandwidth: a small frozen object that holds settings and no arrays.

    Attributes:
      takes: what `extend` reads, a low-rate waveform or codec tokens.
      input_rate: rate of that waveform, or of the waveform that the tokens stand for, in Hz.
      one_rate: whether there is no other input_rate to choose.
      output_rate: rate of the result in Hz.
      receptive_field: input samples on each side that an output sample depends on.
      delay: samples of the future (at input_rate) that a stream must wait for.
      alignment: chunks of a long input begin at multiples of this many input samples, so that
        the frames of a chunk are frames of the whole.
      torch_rules: the weight map of the network.
      torch_constants: what the original's checkpoints hold beside parameters, by name.
      upsampler: filter in `audio.sinc.SINC_FILTERS` by which the input comes to output_rate before
        the network sees it, so that training may draw its rate; "" where there is none.
    """

    takes: ClassVar[Literal["waveform", "tokens"]]
    torch_rules: ClassVar[tuple[Rule, ...]]
    one_rate: ClassVar[bool] = False
    input_rate: int
    output_rate: int

    @property
    def upsampler(self) -> str:
        return ""

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        return {}

    @property
    def receptive_field(self) -> int: ...

    @property
    def delay(self) -> int: ...

    @property
    def alignment(self) -> int: ...

    @property
    def context(self) -> int:
        """`receptive_field` in whole alignments: what a chunk is given on each side."""
        return -(-self.receptive_field // self.alignment) * self.alignment

    def at(self, rate: int) -> System:
        """The system that takes an input of some rate, with the same parameters; `input_rate` says
        what that is to be resampled to. Most take one rate alone."""
        return self

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters as a nested dict of float32 arrays."""

    def extend(self, params: Params, inputs: jax.Array, key: jax.Array) -> jax.Array:
        """Waveforms `[batch, samples]` at input_rate, or tokens int32 `[batch, frames]` ->
        `[batch, samples']` at output_rate, of the network's own length (see `inference` for the
        exact-length contract)."""

    def predict(self, params: Params, batch: Mapping[str, jax.Array]) -> Features:
        """What losses compare: "waveform" and the system's own features, from a batch with
        "input" `[batch, samples]` or "tokens" `[batch, frames]`, and "target"
        `[batch, samples']`."""

    def target(self, batch: Mapping[str, jax.Array]) -> Features:
        """The same features of the true wide-band waveform."""

    def training_state(self) -> dict[str, jax.Array]:
        """What training keeps beside the parameters, at its beginning; mostly nothing."""
        return {}

    def observe(
        self, state: Mapping[str, jax.Array], predicted: Features, mean: Callable[[Any], Any]
    ) -> dict[str, jax.Array]:
        """That state after a batch.

        Args:
          state: before it.
          predicted: what `predict` gave.
          mean: averages over data-parallel devices.
        """
        return dict(state)

    def upkeep(
        self, params: Params, state: Mapping[str, jax.Array], step: jax.Array
    ) -> tuple[Params, Mapping[str, jax.Array]]:
        """Parameters and state after the update of a step, with what no gradient does."""
        return params, state

    def start_from(self, fresh: Params, other: System, theirs: Params) -> Params:
        """Fresh parameters with what another trained system can give.

        Raises:
          UserError: if the other has nothing for this one, which is so unless a system says
            otherwise.
        """
        raise UserError(f"it holds {other}, not {self}")
