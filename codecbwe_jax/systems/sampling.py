"""What a system is given beside its input: settings, noise, and what was measured before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.fields import Seed


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """What may be chosen when a system runs; a system that leaves something open adds its fields,
    such as steps, a solver, guidance."""


@dataclasses.dataclass(frozen=True)
class NoiseSettings(SamplingSettings):
    """Of what draws.

    Attributes:
      seed: of the noise.
    """

    seed: Seed = 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampling:
    """What a system with a `sampling_kind` is given beside its input.

    Attributes:
      keys: random keys `[batch]`.
      first_frames: int32 `[batch]`, the number of each item's first frame (of `alignment` input
        samples) in the whole of which it is a piece; negative before the beginning.
      settings: of the system's `sampling_kind`; static under jit.
      survey: float32 `[batch]` by name, what the system's `measures` say of the whole.
    """

    keys: jax.Array
    first_frames: jax.Array
    settings: Any = dataclasses.field(metadata={"static": True})
    survey: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)

    def noise(self, frames: int, *shape: int) -> jax.Array:
        """Standard normal numbers `[batch, frames, *shape]`, those of a frame being a function of
        the key and of the frame's place in the whole: pieces that overlap draw the same."""

        def of_frame(key: jax.Array, frame: jax.Array) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(key, frame), shape)

        places = self.first_frames[:, None] + jnp.arange(frames)
        return jax.vmap(jax.vmap(of_frame, (None, 0)))(self.keys, places)

    def at_step(self, number: int | jax.Array) -> Sampling:
        """For what a solver's step of this number draws."""
        keys = jax.vmap(jax.random.fold_in, (0, None))(self.keys, number)
        return dataclasses.replace(self, keys=keys)


def given(sampling: Sampling | None) -> Sampling:
    """What a system that cannot do without it was given.

    Raises:
      ValueError: if it was not.
    """
    if sampling is None:
        raise ValueError("what draws or measures needs its sampling: see System.sampling")
    return sampling


class Measure(Protocol):
    """A figure of each channel of a whole clip, which is heard block by block."""

    def add(self, block: np.ndarray) -> None:
        """Hear the next samples `[n, channels]` at the system's input_rate."""

    def value(self) -> np.ndarray:
        """`[channels]`, of all that was heard; `[1]` of nothing."""
