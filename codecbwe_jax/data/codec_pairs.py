"""Training pairs whose input is what a codec makes of the recording.

A codec's tokens depend on the whole stretch that its encoder is given, so every recording is cut
into fixed chunks, and a chunk is always encoded as a whole. A sample is a chunk and a place in it,
on the grid of tokens. Whether the codec runs in the training step (`MakeOnlinePair`) or ran
beforehand (`MakeCachedPair`), the pairs are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from codecbwe_jax.audio import files
from codecbwe_jax.data import shards
from codecbwe_jax.data.pipeline import Batch, MakePair, read_segment
from codecbwe_jax.data.recordings import Recording
from codecbwe_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class CodecPairSettings:
    """How a pair is made from a chunk.

    Attributes:
      codec: content hash of the codec.
      compute_dtype: that it runs in.
      encoder_rate: of what it hears in Hz.
      output_rate: of the target in Hz.
      segment_samples: length of the target.
      chunk_tokens: tokens of a chunk.
      token_rate: tokens a second.
      window_samples: samples at the encoder's rate that give these tokens.
      codec_rate: of the decoded input in Hz.
      takes: "waveform": pairs hold what the codec decodes; "tokens": they do not.
      balance_speakers: draw the speaker first, then one of the speaker's chunks.
      seed: of everything that is drawn.

    Raises:
      UserError: if a token is no whole number of target samples, or a segment does not fit.
    """

    codec: str
    compute_dtype: str
    encoder_rate: int
    output_rate: int
    segment_samples: int
    chunk_tokens: int
    token_rate: int
    window_samples: int
    codec_rate: int
    takes: Literal["waveform", "tokens"] = "waveform"
    balance_speakers: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.output_rate % self.token_rate or self.codec_rate % self.token_rate:
            raise UserError(f"{self.output_rate} Hz is no multiple of {self.token_rate} tokens/s")
        if self.segment_tokens > self.chunk_tokens:
            raise UserError(
                f"config.data.segment_samples {self.segment_samples} is longer than a chunk of "
                f"config.data.chunk_seconds {self.chunk_tokens / self.token_rate:g}"
            )

    @property
    def hop_length(self) -> int:
        """Target samples for each token."""
        return self.output_rate // self.token_rate

    @property
    def segment_tokens(self) -> int:
        """Tokens that cover a segment."""
        return -(-self.segment_samples // self.hop_length)

    @property
    def input_samples(self) -> int:
        """Decoded samples of a segment."""
        return -(-self.segment_samples * self.codec_rate // self.output_rate)


def chunks(recordings: Sequence[Recording], seconds: float) -> list[Recording]:
    """Cut recordings into stretches of one length; what remains at the end is left out, and a
    recording that is shorter is one chunk (read with zeros after it)."""
    cut = []
    for r in recordings:
        size = round(seconds * r.rate)
        for k in range(max(1, r.samples // size)):
            samples = min(size, r.samples - k * size)
            cut.append(dataclasses.replace(r, start=r.start + k * size, samples=samples))
    return cut


def read_wide(chunk: Recording, settings: CodecPairSettings) -> np.ndarray:
    """Target waveform of a whole chunk, float32."""
    samples = settings.chunk_tokens * settings.hop_length
    return read_segment(chunk, settings.output_rate, samples, 0.0)


def read_target(chunk: Recording, first_token: int, settings: CodecPairSettings) -> np.ndarray:
    """The target of a segment, bit for bit the samples that the whole chunk has there."""
    s = settings
    begin = first_token * s.hop_length
    if chunk.rate != s.output_rate:  # what resampling gives depends on what is around
        return crop(read_wide(chunk, s), first_token, s)
    if begin >= chunk.samples:
        return np.zeros(s.segment_samples, np.float32)
    rest = dataclasses.replace(chunk, start=chunk.start + begin, samples=chunk.samples - begin)
    return read_segment(rest, s.output_rate, s.segment_samples, 0.0)


def read_chunk(chunk: Recording, settings: CodecPairSettings) -> tuple[np.ndarray, np.ndarray]:
    """(target waveform of a whole chunk, what the encoder hears of it), float32.

    Raises:
      UserError: if the recording cannot be read.
    """
    return read_wide(chunk, settings), read_heard(chunk, settings)


def read_heard(chunk: Recording, settings: CodecPairSettings) -> np.ndarray:
    """What the encoder hears of a chunk, float32 `[window_samples]`: the same for every target
    rate, so that systems of several rates have the same tokens."""
    s = settings
    samples = min(s.window_samples, s.chunk_tokens * s.encoder_rate // s.token_rate)
    heard = read_segment(chunk, s.encoder_rate, samples, 0.0)
    return np.pad(heard, (0, s.window_samples - samples))


def batched_chunks(
    chunks: Sequence[Recording],
    settings: CodecPairSettings,
    batch_size: int,
    say: Callable[[str], None],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read chunks in batches, for a codec to run on.

    Args:
      chunks: to read.
      settings: of the pairs.
      batch_size: the last batch is filled up with zeros.
      say: gets a line for each chunk that cannot be read.

    Yields:
      (what the encoder hears `[batch_size, window]`, whether each chunk could be read).
    """
    for at in range(0, len(chunks), batch_size):
        some = chunks[at : at + batch_size]
        heard = np.zeros((batch_size, settings.window_samples), np.float32)
        good = np.ones(len(some), bool)
        for i, chunk in enumerate(some):
            try:
                heard[i] = read_heard(chunk, settings)
            except UserError as error:
                say(f"cannot read {error}")
                good[i] = False
        yield heard, good


class MakeOnlinePair(MakePair):
    """Index of a chunk -> {"heard", "first_token", "target", "index", "broken"}.

    "heard" is the whole chunk at the encoder's rate; the step encodes and decodes it and takes the
    part that begins at "first_token" (`training.codec_input`).
    """

    def make(self, chosen: int, rng: np.random.Generator) -> Batch:
        s = self.settings
        wide, heard = read_chunk(self.recordings[chosen], s)
        first = draw_place(s, rng)
        return {"heard": heard, "first_token": np.int32(first), "target": crop(wide, first, s)}


class MakeCachedPair(MakePair):
    """Index of a chunk -> {"input", "tokens", "target", "index", "broken"}, from a cache;
    "input" only for a system that takes waveforms.

    Args:
      recordings: the chunks.
      settings: of the pairs.
      folder: a cache of these chunks, made by `codecbwe cache`.
    """

    def __init__(
        self, recordings: Sequence[Recording], settings: CodecPairSettings, folder: Path
    ) -> None:
        super().__init__(recordings, settings)
        self.folder, self._source = folder, None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_source": None}  # a worker opens the shards itself

    def make(self, chosen: int, rng: np.random.Generator) -> Batch:
        s = self.settings
        self._source = self._source or open_cache(self.folder)
        record = self._source[chosen]
        if len(record["tokens"]) != s.chunk_tokens:
            raise UserError(f"{self.recordings[chosen].path} could not be read for the cache")
        first = draw_place(s, rng)
        pair = {
            "tokens": record["tokens"][first : first + s.segment_tokens],
            "target": read_target(self.recordings[chosen], first, s),
        }
        if s.takes == "waveform":
            begin = first * (s.codec_rate // s.token_rate)
            decoded, _ = files.decode(
                record["decoded"], f"{self.folder}: record {chosen}", begin, s.input_samples
            )
            pair["input"] = decoded[:, 0]
        return pair


def draw_place(settings: CodecPairSettings, rng: np.random.Generator) -> int:
    """First token of a segment in its chunk."""
    return int(rng.integers(settings.chunk_tokens - settings.segment_tokens + 1))


def crop(wide: np.ndarray, first_token: int, settings: CodecPairSettings) -> np.ndarray:
    """The target of a segment."""
    begin = first_token * settings.hop_length
    return wide[begin : begin + settings.segment_samples]


def open_cache(folder: Path) -> Any:
    """Random access to a cache's records: "tokens" int32 and "decoded" FLAC bytes.

    Raises:
      UserError: if it is no whole cache.
    """
    try:
        return shards.open_split(folder, "train")
    except UserError as error:
        raise UserError(f"{error}; run codecbwe cache") from None
