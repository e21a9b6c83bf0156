"""What a system is: the contract between a way to extend bandwidth and what runs it.

How a system learns is not said here: every objective states, as a protocol, what it asks of the
systems that it trains (`objectives.gan.Predicts`), and a system has what it can be trained by.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.errors import UserError
from codecbwe_jax.nn.init import fresh_variables
from codecbwe_jax.systems.sampling import Measure, NoiseSettings, Sampling, SamplingSettings
from codecbwe_jax.weights.rules import Rule, under

Params = Mapping[str, Any]
Features = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class System(abc.ABC):
    """A way to extend bandwidth: a small frozen object that holds settings and no arrays.

    Attributes:
      takes: what `extend` reads, a low-rate waveform or codec tokens.
      one_rate: whether there is no other input_rate to choose.
      sampling_kind: of what may be chosen when it runs, such as a seed; None: nothing.
      mid_side: whether two channels are extended as their mean and half difference.
    """

    takes: ClassVar[Literal["waveform", "tokens"]] = "waveform"
    one_rate: ClassVar[bool] = False
    sampling_kind: ClassVar[type[SamplingSettings] | None] = None
    mid_side: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def input_rate(self) -> int:
        """Of the waveform that it takes, or that its tokens stand for, in Hz."""

    @property
    @abc.abstractmethod
    def output_rate(self) -> int:
        """In Hz."""

    @property
    @abc.abstractmethod
    def receptive_field(self) -> int:
        """Input samples on each side that an output sample depends on."""

    @property
    @abc.abstractmethod
    def alignment(self) -> int:
        """Chunks of a long input begin at multiples of this many input samples, so that the frames
        of a chunk are frames of the whole."""

    @property
    def span(self) -> int:
        """Input samples that it is given at once, always, where what it gives depends on all of
        them (attention, levels of a whole): then chunks are faded into one another within
        `context`, of which it holds at least three. 0: any number will do, `receptive_field` being
        exact."""
        return 0

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of what it draws for each frame of `alignment` input samples, before it begins; empty: it
        draws nothing."""
        return ()

    @property
    def compute_dtype(self) -> str:
        """Of what the network computes, as far as there is a choice; a field where there is."""
        return "float32"

    @property
    def decided_by_rounding(self) -> bool:
        """Whether it sees the phases of empty bins, which are those of rounding noise, so that no
        two programs agree on what it gives for speech."""
        return False

    @property
    def delay(self) -> int:
        """Samples of the future (at input_rate) that a stream must wait for."""
        return self.receptive_field

    @property
    def context(self) -> int:
        """`receptive_field` in whole alignments: what a chunk is given on each side."""
        return -(-self.receptive_field // self.alignment) * self.alignment

    @property
    def upsampler(self) -> str:
        """Filter in `audio.sinc.SINC_FILTERS` by which the input comes to output_rate before the
        network sees it, so that training may draw its rate; "" where there is none."""
        return ""

    @property
    def torch_rules(self) -> tuple[Rule, ...]:
        """The weight map of the network."""
        return ()

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        """What the original's checkpoints hold beside parameters, by name."""
        return {}

    def at(self, rate: int) -> Self:
        """The system that takes an input of some rate, with the same parameters; `input_rate` says
        what that is to be resampled to. Most take one rate alone."""
        return self

    def to(self, rate: int) -> Self:
        """The system that gives another output rate, with the same parameters.

        Raises:
          UserError: if it has no such rate; most give one alone.
        """
        if rate != self.output_rate:
            raise UserError(f"{type(self).__name__} gives {self.output_rate} Hz alone, not {rate}")
        return self

    def computing_in(self, dtype: str) -> Self:
        """The system with another `compute_dtype`."""
        if dtype == self.compute_dtype:
            return self
        # the field is a subclass's, so that a type checker does not find it here
        return dataclasses.replace(self, **{"compute_dtype": dtype})

    def input_shape(self, samples: int) -> jax.ShapeDtypeStruct:
        """Of one item of what `extend` makes so many samples at output_rate of."""
        heard = -(-samples * self.input_rate // self.output_rate)
        return jax.ShapeDtypeStruct((1, heard), jnp.float32)

    @property
    def parts(self) -> dict[str, System]:
        """Systems that it is made of, trained before it and frozen since: the fields that hold one.
        Under a field's name their parameters stand beside its own in what `extend` is given."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, System)}

    @abc.abstractmethod
    def init(self, key: jax.Array) -> Params:
        """Fresh parameters of its own as a nested dict of float32 arrays."""

    def shapes(self) -> Params:
        """Of all parameters, those of its parts too."""
        own = jax.eval_shape(self.init, jax.random.key(0))
        return {**own, **{name: part.shapes() for name, part in self.parts.items()}}

    @property
    def weight_map(self) -> tuple[Rule, ...]:
        """Rules for all parameters: names of a part's begin with its name."""
        theirs = (rule for n, part in self.parts.items() for rule in under(n, n, part.weight_map))
        return (*self.torch_rules, *theirs)

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """`torch_constants`, those of its parts too."""
        parts = self.parts.items()
        theirs = {f"{n}.{k}": value for n, part in parts for k, value in part.constants.items()}
        return {**self.torch_constants, **theirs}

    def measures(self, settings: Any) -> dict[str, Measure]:
        """What it must know of a whole clip before any piece of it runs, such as its peak; most
        need nothing.

        Args:
          settings: of its `sampling_kind`.
        """
        return {}

    def survey(
        self, blocks: Iterable[np.ndarray], settings: SamplingSettings | None = None
    ) -> dict[str, np.ndarray]:
        """What its `measures` say of a clip, float32 `[channels]` by name.

        Args:
          blocks: `[n, channels]` at input_rate, consecutive; not touched if nothing is measured.
          settings: of its `sampling_kind`; None: its defaults.
        """
        kind = self.sampling_kind
        measures = self.measures(settings or kind()) if kind else {}
        if measures:
            for block in blocks:
                for measure in measures.values():
                    measure.add(block)
        return {name: measure.value() for name, measure in measures.items()}

    def sampling(
        self,
        settings: SamplingSettings | None = None,
        first_frame: int = 0,
        survey: Mapping[str, np.ndarray] | None = None,
    ) -> Sampling | None:
        """What `extend` is given for one item.

        Args:
          settings: of its `sampling_kind`; None: its defaults.
          first_frame: number of the item's first frame in the whole of which it is a piece.
          survey: of that whole, `[1]` by name; None: of nothing.
        """
        if self.sampling_kind is None:
            return None
        settings = settings or self.sampling_kind()
        seed = settings.seed if isinstance(settings, NoiseSettings) else 0
        known = self.survey([], settings) if survey is None else survey
        heard = {name: jnp.asarray(value) for name, value in known.items()}
        return Sampling(jax.random.key(seed)[None], jnp.int32([first_frame]), settings, heard)

    @abc.abstractmethod
    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Whole parameters, and waveforms `[batch, samples]` at input_rate, or tokens int32
        `[batch, frames]` -> `[batch, samples']` at output_rate, of the network's own length (see
        `inference` for the exact-length contract). What has no `sampling_kind` needs no
        sampling."""

    def start_from(self, fresh: Params, other: System, theirs: Params) -> Params:
        """Fresh parameters with what another trained system can give.

        Raises:
          UserError: if the other has nothing for this one, which is so unless a system says
            otherwise.
        """
        raise UserError(f"it holds {other}, not {self}")


class OneNetwork(System):
    """A system whose own parameters are those of one network."""

    @property
    @abc.abstractmethod
    def network(self) -> nn.Module:
        """Of the settings, unbound."""

    @property
    @abc.abstractmethod
    def example(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """What the network is called with, of some length."""

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters of the network."""
        return fresh_variables(self.network, key, *self.example)["params"]


class Regression(System):
    """A system that says its waveform at once, whose losses compare that with the true one.

    It has what `objectives.gan.Predicts` asks for.
    """

    def predict(self, params: Params, batch: Mapping[str, jax.Array]) -> Features:
        """What losses compare: "waveform", as long as the target, and perhaps features of the
        system's own.

        Args:
          params: of the system.
          batch: "input" `[batch, samples]`, or "tokens" int32 `[batch, frames]`, and "target"
            `[batch, samples']`.
        """
        given = batch["tokens" if self.takes == "tokens" else "input"]
        return {"waveform": self.extend(params, given)[:, : batch["target"].shape[1]]}

    def target(self, batch: Mapping[str, jax.Array]) -> Features:
        """The same features of the true wide-band waveform."""
        return {"waveform": batch["target"]}
