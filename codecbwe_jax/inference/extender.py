"""Extend waveforms of any length, rate and number of channels, in constant memory.

A long input is cut into chunks that overlap by the system's receptive field on both sides, at
places where the frames of a chunk are frames of the whole, and the overlap is trimmed. Every
input, short or long, takes this way: it is reflected at both ends, so the network always sees its
full context and a result does not depend on how the input is cut. A streaming system sees nothing
ahead: it takes its input as it would arrive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.waveform import checked, checked_blocks
from codecbwe_jax.errors import UserError, warn
from codecbwe_jax.inference.blocks import Buffer, resampled
from codecbwe_jax.inference.compilation import enable_cache
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.inference.streaming import StreamingExtender, StreamProgram
from codecbwe_jax.systems.base import System
from codecbwe_jax.systems.streaming import StreamingSystem

MIN_RATE = 8000
# Chunk lengths in seconds: the rest of a file takes the shortest that holds it, so few shapes are
# ever compiled.
BUCKETS = (0.25, 1.0, 4.0)
# what is known of a clip as a whole, `[channels]` by name
Survey = Mapping[str, np.ndarray]
COMPILING = "compiling for this machine (once; kept for next time) ..."


class BandwidthExtender:
    """A loaded model as a function of waveforms.

    Args:
      model: what to run.
      chunk_seconds: longest chunk; a system with a `span` has a length of its own.
      say: gets a line before something slow, such as the first compilation.

    Raises:
      UserError: if the model takes no waveforms.
    """

    def __init__(
        self,
        model: Model,
        chunk_seconds: float = BUCKETS[-1],
        say: Callable[[str], None] = warn,
    ) -> None:
        if model.system.takes != "waveform":
            raise UserError(f"{model.name} takes tokens; inference.TokenDecoder decodes them")
        self.model = model
        self.system = model.system
        self._params = jax.device_put(model.params)
        self._say = say
        self._chunk_seconds = chunk_seconds
        self._at: dict[int, _Chunks] = {}
        self._program: StreamProgram | None = None

    @classmethod
    def load(cls, where: str | Path, chunk_seconds: float = BUCKETS[-1]) -> BandwidthExtender:
        """Load a work folder, a converted or exported folder, or a baseline by name; the rest as
        of the class.

        Raises:
          UserError: see `inference.model_folders.load_model`.
        """
        enable_cache()
        return cls(load_model(where), chunk_seconds)

    def __call__(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """Extend a whole waveform.

        Args:
          waveform: `[samples]` or `[samples, channels]`, any length from 1, floats with full scale
            1 or integers; each channel is extended by itself.
          rate: in Hz, 8000 or more; resampled to the system's input rate with soxr, unless it
            takes any.

        Returns:
          float32 `[round(samples * output_rate / rate)]`, with the same channels.

        Raises:
          UserError: see `audio.waveform.checked`, and if the rate is too low.
        """
        waveform = checked(waveform)
        columns = waveform[:, None] if waveform.ndim == 1 else waveform
        pieces = list(self.stream([columns], rate))
        out = np.concatenate(pieces) if pieces else np.zeros((0, columns.shape[1]), np.float32)
        return out[:, 0] if waveform.ndim == 1 else out

    def stream(self, blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """Extend a waveform that comes in blocks, holding a few chunks of it at a time.

        Args:
          blocks: `[samples, channels]`, consecutive, of any length from 0; floats with full scale
            1 or integers. What measures the whole clip first goes through them twice, so that they
            are no iterator then.
          rate: in Hz.

        Yields:
          float32 `[samples, channels]`, together of the exact length.

        Raises:
          UserError: if the rate is too low, a block is refused by `audio.waveform`, or blocks that
            are needed twice come once.
        """
        if rate < MIN_RATE:
            raise UserError(f"the input's rate is {rate} Hz; {MIN_RATE} Hz or more is needed")
        if isinstance(self.system, StreamingSystem):
            out = self._causally(_Counter(self._heard(blocks)), rate)
        else:
            survey = self._survey(blocks, rate)
            out = self._in_chunks(_Counter(self._heard(blocks)), rate, survey)
        yield from _undone(out) if self.system.mid_side else out

    def _heard(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The channels that the system is given."""
        whole = checked_blocks(blocks)
        return _mid_side(whole) if self.system.mid_side else whole

    def _survey(self, blocks: Iterable[np.ndarray], rate: int) -> Survey:
        """What the system must know of each channel as a whole."""
        system, settings = self.system.at(rate), self.model.sampling
        if not system.survey([], settings):
            return {}
        if isinstance(blocks, Iterator):
            raise UserError(
                f"{self.model.name} hears a whole clip before it begins: give its blocks as a "
                "list, or as something else that can be gone through twice"
            )
        return system.survey(resampled(self._heard(blocks), rate, system.input_rate), settings)

    def _causally(self, counter: _Counter, rate: int) -> Iterator[np.ndarray]:
        """As a live stream would be: what a causal network gives does not depend on the future."""
        if self._program is None:
            self._say(COMPILING)
            self._program = StreamProgram(self.model)
        streams: list[StreamingExtender] = []
        written = 0
        for block in resampled(counter, rate, self.system.input_rate):
            streams = streams or [StreamingExtender(self._program) for _ in block.T]
            pairs = zip(streams, block.T, strict=True)
            piece = np.stack([stream.push(channel) for stream, channel in pairs], axis=1)
            written += len(piece)
            yield piece
        if streams:
            total = round(counter.samples * self.system.output_rate / rate)
            rest = np.stack([stream.flush() for stream in streams], axis=1)
            missing = max(total - written - len(rest), 0)  # a sample that resampling rounded away
            yield np.pad(rest, ((0, missing), (0, 0)))[: total - written]

    def _in_chunks(self, counter: _Counter, rate: int, survey: Survey) -> Iterator[np.ndarray]:
        chunks = self._chunks(rate)
        written = 0
        for piece in _joined(self._pieces(chunks, counter, rate, survey), chunks.fade):
            # of what was read so far: all, before the last piece comes
            total = round(counter.samples * chunks.system.output_rate / rate)
            yield piece[: max(total - written, 0)]
            written += len(piece)

    def _pieces(
        self, chunks: _Chunks, counter: _Counter, rate: int, survey: Survey
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Chunks' outputs with what is to be faded on both sides, and the lengths without."""
        system, context, longest = chunks.system, chunks.context, chunks.lengths[-1]
        buffer = Buffer(_reflected(resampled(counter, rate, system.input_rate), context))
        made = at = 0
        while buffer.fill(longest + 2 * context):
            made += (own := chunks.output(longest))
            yield self._run(chunks, buffer.peek(longest + 2 * context), at, longest, survey), own
            buffer.drop(longest)
            at += longest
        total = round(counter.samples * system.output_rate / rate)
        while made < total:
            missing = math.ceil((total - made) * system.input_rate / system.output_rate)
            size = next((c for c in chunks.lengths if c >= missing), longest)
            made += (own := chunks.output(size))
            yield self._run(chunks, buffer.peek(size + 2 * context), at, size, survey), own
            buffer.drop(size)
            at += size

    def _chunks(self, rate: int) -> _Chunks:
        """How inputs of a rate are cut."""
        system = self.system.at(rate)
        if system.input_rate not in self._at:
            self._at[system.input_rate] = _Chunks(system, self._chunk_seconds)
        return self._at[system.input_rate]

    def _run(
        self,
        chunks: _Chunks,
        window: np.ndarray,
        at: int,
        chunk: int,
        survey: Survey,
    ) -> np.ndarray:
        """One chunk, whose first sample is `at` of the whole, with its context on both sides -> the
        chunk's own output samples, and those on both sides that are faded."""
        if len(window) not in chunks.compiled:
            if not chunks.compiled:
                self._say(COMPILING)
            chunks.compiled.add(len(window))
        first = chunks.output(chunks.context) - chunks.fade
        last = chunks.output(chunks.context + chunk) + chunks.fade
        frame = (at - chunks.context) // chunks.system.alignment
        columns = []
        for number, channel in enumerate(window.T):
            known = {name: values[number : number + 1] for name, values in survey.items()}
            sampling = chunks.system.sampling(self.model.sampling, frame, known)
            out = chunks.extend(self._params, jnp.asarray(channel[None]), sampling)
            columns.append(np.asarray(out)[0, first:last])
        return np.stack(columns, axis=1)


class _Chunks:
    """How inputs of one rate are cut, and what runs on the pieces."""

    def __init__(self, system: System, longest_seconds: float) -> None:
        align = system.alignment
        seconds = sorted({b for b in BUCKETS if b < longest_seconds} | {longest_seconds})
        self.system = system
        self.extend = jax.jit(system.extend)
        self.context = system.context
        self.lengths = [max(1, round(s * system.input_rate / align)) * align for s in seconds]
        if system.span:
            self.lengths = [system.span // align * align - 2 * self.context]
            if self.lengths[0] < self.context:
                raise ValueError(f"{system}: its span {system.span} holds no three contexts")
        # output samples on each side of a joint in which both chunks are heard
        self.fade = self.output(self.context) // 2 if system.span else 0
        self.compiled: set[int] = set()

    def output(self, samples: int) -> int:
        """Output samples of so many input samples."""
        return round(samples * self.system.output_rate / self.system.input_rate)


def _joined(pieces: Iterable[tuple[np.ndarray, int]], fade: int) -> Iterator[np.ndarray]:
    """Pieces `[fade + n + fade, channels]` and their n, faded into one another at their joints:
    what both know they keep, at its level."""
    rise = ((np.arange(2 * fade, dtype=np.float32) + 0.5) / max(2 * fade, 1))[:, None]
    tail: np.ndarray | None = None
    for piece, n in pieces:
        if tail is None:
            yield piece[fade:n]
        else:
            both = tail * (1 - rise) + piece[: 2 * fade] * rise
            yield np.concatenate([both, piece[2 * fade : n]])
        tail = piece[n:]
    if tail is not None:
        yield tail[:fade]


def _mid_side(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Two channels as their mean and half difference; other numbers of channels as they are."""
    matrix = np.array([[0.5, 0.5], [0.5, -0.5]], np.float32)
    for block in blocks:
        yield block @ matrix if block.shape[1] == 2 else block


def _undone(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    matrix = np.array([[1, 1], [1, -1]], np.float32)
    for block in blocks:
        yield block @ matrix if block.shape[1] == 2 else block


class _Counter:
    """Passes blocks on and counts their samples."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks, self.samples = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self.samples += len(block)
            yield block


def _reflected(blocks: Iterable[np.ndarray], context: int) -> Iterator[np.ndarray]:
    """The signal with `context` reflected samples before it and after it."""
    head: np.ndarray | None = None
    tail = None
    for block in blocks:
        if head is None or len(head) <= context:
            head = block if head is None else np.concatenate([head, block])
            if len(head) <= context:
                continue
            yield np.pad(head, ((context, 0), (0, 0)), mode="reflect")
            tail = head[-context - 1 :]
        else:
            yield block
            tail = np.concatenate([tail, block])[-context - 1 :]
    if head is None:
        return
    if tail is None:  # shorter than the context: reflected again and again
        if len(head):
            yield np.pad(head, ((context, context), (0, 0)), mode="reflect")
    else:
        yield np.pad(tail, ((0, context), (0, 0)), mode="reflect")[len(tail) :]
