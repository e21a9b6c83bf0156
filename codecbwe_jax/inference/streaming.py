"""Extend a waveform while it arrives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from codecbwe_jax.audio.waveform import checked_mono
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.compilation import enable_cache
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.systems.streaming import StreamingSystem

# Frames of one step: a single one for what arrives live, many for what is there already.
BLOCKS = (50, 1)
# Frames of the past that the interpolator alone looks at, and more.
PLAIN_PAST = 2

Step = Callable[[jax.Array, np.ndarray], tuple[jax.Array, jax.Array]]


class StreamProgram:
    """A model's step, compiled for each of `BLOCKS`; nothing is compiled after that.

    Parameters are constants of the program and the state is one array: handing over a hundred
    small ones for every frame costs a fifth of its time.

    Args:
      model: of a streaming system.

    Raises:
      UserError: if the model cannot run on a stream.
    """

    def __init__(self, model: Model) -> None:
        system = model.system
        if not isinstance(system, StreamingSystem):
            raise UserError(
                f"{model.name} cannot run on a stream: it sees the future; bbwexnet and opus_bbwe "
                "do not"
            )
        self.system = system
        params = jax.tree.map(np.asarray, jax.jit(system.folded)(model.params))
        state = jax.jit(system.begin)(params)
        self._first, unravel = ravel_pytree(state)

        def step(packed: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
            state, out = system.step(params, unravel(packed), frames[None])
            return ravel_pytree(state)[0], out[0]

        def wave(frames: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((frames * system.frame_length,), jnp.float32)

        stepping = jax.jit(step, donate_argnums=0)
        self.steps: dict[int, Step] = {
            count: stepping.lower(self._first, wave(count)).compile() for count in BLOCKS
        }
        plain = jax.jit(lambda frames: system.interpolate(frames[None])[0])
        self.plain = plain.lower(wave(PLAIN_PAST + 1)).compile()

    def begin(self) -> jax.Array:
        """The state before the first frame."""
        return jnp.copy(self._first)  # the steps take over the memory of what they are given


class StreamingExtender:
    """Extends one channel piece by piece; what is pushed and flushed gives together what a whole
    file gives.

    Args:
      model: of a streaming system, or its compiled program, which many streams may share.

    Attributes:
      delay: output samples by which the output may be behind what was pushed: a frame and the
        network's lag.
    """

    def __init__(self, model: Model | StreamProgram) -> None:
        self.program = model if isinstance(model, StreamProgram) else StreamProgram(model)
        system = self.program.system
        self.input_rate, self.output_rate = system.input_rate, system.output_rate
        self._frame = system.frame_length
        self._ratio = system.output_rate // system.input_rate
        self.delay = self._frame * self._ratio + system.lag
        # frames until a network that begins anew gives what one gives that never stopped
        self._warm_up = -(-system.receptive_field // self._frame)
        places = (np.arange(self._frame * self._ratio) + 0.5) / (self._frame * self._ratio)
        self._fade = (0.5 - 0.5 * np.cos(np.pi * places)).astype(np.float32)
        self.reset()

    @classmethod
    def load(cls, where: str | Path) -> StreamingExtender:
        """Load a work folder or a converted or exported folder.

        Raises:
          UserError: see `inference.model_folders.load_model`, and if the model sees the future.
        """
        enable_cache()
        return cls(load_model(where))

    def reset(self) -> None:
        """Begin a new stream, extended from its first sample."""
        self._state = self.program.begin()
        self._waiting = np.zeros(0, np.float32)
        self._recent = np.zeros(PLAIN_PAST * self._frame, np.float32)
        self._pushed = self._given = 0
        self._skip = self.program.system.lag
        self._wanted, self._unheard = True, 0
        self._phase: Literal["wide", "plain", "warming"] = "wide"

    def switch(self, wide: bool) -> None:
        """Turn the extension on or off from the next frame on, at the same rate and delay.

        Off, the output is the interpolated input, and the network does not run. On, it runs
        unheard until it has its context (`bbwexnet`: 0.16 s). Both changes fade over one frame.
        """
        self._wanted = wide

    def push(self, chunk: np.ndarray) -> np.ndarray:
        """Take samples, give what is ready.

        Args:
          chunk: `[n]` at input_rate, of any length from 0; floats with full scale 1 or integers.

        Returns:
          float32 `[m]` at output_rate; empty while a frame is incomplete.

        Raises:
          UserError: see `audio.waveform.checked_mono`; nothing is taken then.
        """
        chunk = checked_mono(chunk, "chunk", self._pushed)
        self._pushed += len(chunk)
        self._waiting = np.concatenate([self._waiting, chunk])
        pieces = []
        whole = len(self._waiting) // self._frame * self._frame
        frames, self._waiting = self._waiting[:whole], self._waiting[whole:]
        while len(frames):
            count = self._count(len(frames) // self._frame)
            pieces.append(self._run(frames[: count * self._frame], count))
            frames = frames[count * self._frame :]
        out = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        late = min(self._skip, len(out))
        self._skip -= late
        self._given += len(out) - late
        return out[late:]

    def flush(self) -> np.ndarray:
        """End the stream: the samples that are still owed, so that pushed and flushed output
        together have `ratio` samples for each that was pushed. Then `reset`."""
        owed, pushed = self._pushed * self._ratio - self._given, self._pushed
        silence = self._frame - len(self._waiting) % self._frame
        silence += -(-self.program.system.lag // (self._ratio * self._frame)) * self._frame
        out = self.push(np.zeros(silence, np.float32))[:owed] if pushed else self._waiting
        self.reset()
        return out

    def _count(self, frames: int) -> int:
        """Frames of the next step: one while the switch is being moved."""
        steady = self._wanted and self._phase == "wide"
        return next(count for count in BLOCKS if count <= frames and (steady or count == 1))

    def _run(self, frames: np.ndarray, count: int) -> np.ndarray:
        if self._wanted and self._phase == "plain":
            self._state, self._phase, self._unheard = self.program.begin(), "warming", 0
        if not self._wanted and self._phase == "warming":
            self._phase = "plain"
        if self._phase == "plain":
            out = self._plain(frames)
        elif self._phase == "wide" and self._wanted:
            out = self._extended(frames, count)
        else:
            out = self._changing(self._extended(frames, count), self._plain(frames))
        self._recent = np.concatenate([self._recent, frames])[-len(self._recent) :]
        return out

    def _changing(self, wide: np.ndarray, plain: np.ndarray) -> np.ndarray:
        """A frame while the switch is being moved: off, or on after a network's warm-up."""
        if self._phase == "wide":
            self._phase = "plain"
            return wide + self._fade * (plain - wide)
        self._unheard += 1
        if self._unheard <= self._warm_up:
            return plain
        self._phase = "wide"
        return plain + self._fade * (wide - plain)

    def _extended(self, frames: np.ndarray, count: int) -> np.ndarray:
        self._state, out = self.program.steps[count](self._state, frames)
        return np.asarray(out)

    def _plain(self, frame: np.ndarray) -> np.ndarray:
        whole = np.concatenate([self._recent, frame])
        return np.asarray(self.program.plain(whole))[-len(frame) * self._ratio :]
