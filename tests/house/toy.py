"""A system that draws, is made of two and learns from its own average: what the house must hold.

Nothing outside this file and its tests knows it. The network adds what it makes of noise and of
the input's frames, in steps; a frozen part makes a waveform of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax import objectives, systems
from codecbwe_jax.audio.measures import Peak
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.fields import Count, Rate, Size
from codecbwe_jax.objectives.turn import Average, Batch, Context, Params, Report, Turn
from codecbwe_jax.systems import Settings, build
from codecbwe_jax.systems.base import OneNetwork, Regression
from codecbwe_jax.systems.sampling import Measure, NoiseSettings, Sampling, SamplingSettings
from codecbwe_jax.weights.rules import Rule

HOP = 40  # samples at 16 kHz of a frame


class Frames(nn.Module):
    """`[B, T, width]` -> the same, seeing a frame on each side."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(self.width, (3,), name="conv")(x)


@dataclasses.dataclass(frozen=True)
class ToyVocoder(OneNetwork, Regression):
    """Frames of a waveform to that waveform.

    Attributes:
      rate: in Hz.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (Rule("conv", "conv", "conv"),)
    rate: Rate = 32000

    @property
    def input_rate(self) -> int:
        return self.rate

    @property
    def output_rate(self) -> int:
        return self.rate

    @property
    def width(self) -> int:
        return HOP * self.rate // 16000

    @property
    def network(self) -> Frames:
        return Frames(self.width)

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct]:
        return (jax.ShapeDtypeStruct((1, 4, self.width), jnp.float32),)

    @property
    def receptive_field(self) -> int:
        return 2 * self.width

    @property
    def alignment(self) -> int:
        return self.width

    def decode(self, params: Params, frames: jax.Array) -> jax.Array:
        wave = frames + 0.1 * self.network.apply({"params": params}, frames)
        return wave.reshape(wave.shape[0], -1)

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        return self.decode(params, framed(inputs, self))


@dataclasses.dataclass(frozen=True)
class ToySampling(NoiseSettings):
    """How the toy samples.

    Attributes:
      steps: of its solver.
    """

    steps: Count = 2


@dataclasses.dataclass(frozen=True)
class Toy(OneNetwork):
    """The toy.

    Attributes:
      size: of its network.
      vocoder: the part that makes waveforms.
    """

    sampling_kind: ClassVar[type[SamplingSettings]] = ToySampling
    torch_rules: ClassVar[tuple[Rule, ...]] = (Rule("conv", "conv", "conv"),)
    input_rate: ClassVar[int] = 16000
    output_rate: ClassVar[int] = 32000

    size: Size = 1
    vocoder: Settings = dataclasses.field(default_factory=lambda: {"name": "toy_vocoder"})

    def __post_init__(self) -> None:
        if isinstance(self.vocoder, Mapping):
            object.__setattr__(self, "vocoder", build(self.vocoder))

    @property
    def network(self) -> Frames:
        return Frames(self.vocoder.width)

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct]:
        return self.vocoder.example

    @property
    def receptive_field(self) -> int:
        # steps are no setting of the system: as many as a test takes
        return 10 * HOP + 24

    @property
    def alignment(self) -> int:
        return HOP

    @property
    def noise_shape(self) -> tuple[int]:
        return (self.vocoder.width,)

    def measures(self, settings: ToySampling) -> dict[str, Measure]:
        return {"peak": Peak()}

    def clean(self, wave: jax.Array) -> jax.Array:
        """Frames of a waveform at output_rate."""
        return framed(wave, self.vocoder)

    def estimate(self, params: Params, frames: jax.Array) -> jax.Array:
        return self.network.apply({"params": {"conv": params["conv"]}}, frames)

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        level = jnp.maximum(sampling.survey["peak"], 1e-3)[:, None]
        known = self.clean(resample(inputs / level, self.input_rate, self.output_rate))
        x = 0.1 * sampling.noise(known.shape[1], *self.noise_shape)

        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return 0.5 * x + self.estimate(params, x + known), None

        x, _ = jax.lax.scan(step, x, length=sampling.settings.steps)
        return level * self.vocoder.decode(params["vocoder"], known + x)


def framed(wave: jax.Array, vocoder: ToyVocoder) -> jax.Array:
    """`[B, n]` -> `[B, n / width, width]`, of whole frames."""
    padded = jnp.pad(wave, ((0, 0), (0, -wave.shape[1] % vocoder.width)))
    return padded.reshape(wave.shape[0], -1, vocoder.width)


@dataclasses.dataclass(frozen=True)
class SelfTaughtSettings:
    """`config.objective` of `SelfTaught`.

    Attributes:
      decay: of the average that teaches.
    """

    decay: float = 0.5


class SelfTaught:
    """Noisy frames to what the network's own average makes of others, and heard by the vocoder."""

    identity: ClassVar[tuple[str, ...]] = ()
    settings_kind: ClassVar[type] = SelfTaughtSettings
    generator = "generator"

    def __init__(self, system: Toy, settings: Any) -> None:
        self.system = system
        self.averages = {"teacher": Average("generator", settings.decay, before_losses=True)}
        self.turns = (Turn("generator", self._loss),)

    def init(self, key: jax.Array) -> dict[str, Any]:
        return {"generator": self.system.init(key)}

    def _loss(self, params: Params, batch: Batch, context: Context) -> tuple[jax.Array, Report]:
        clean = self.system.clean(batch["target"])
        noise = jax.vmap(lambda key: jax.random.normal(key, clean.shape[1:]))(context.keys)
        said = self.system.estimate(params["generator"], clean + noise)
        taught = self.system.estimate(context.averages["teacher"], clean + 0.5 * noise)
        heard = self.system.vocoder.decode(context.frozen["vocoder"], said)
        apart = jnp.mean(jnp.square(said - jax.lax.stop_gradient(taught)))
        away = jnp.mean(jnp.square(heard - batch["target"][:, : heard.shape[1]]))
        return apart + away, Report({"apart": apart}, {})


def register() -> None:
    """Give the registries of systems and objectives what is here."""
    systems.REGISTRY |= {"toy": f"{__name__}:Toy", "toy_vocoder": f"{__name__}:ToyVocoder"}
    objectives.REGISTRY["self_taught"] = f"{__name__}:SelfTaught"
