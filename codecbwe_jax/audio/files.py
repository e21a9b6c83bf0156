"""Reading and writing audio files."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from codecbwe_jax import atomic
from codecbwe_jax.audio import headers
from codecbwe_jax.audio.waveform import MAX_CHANNELS, check_finite, check_samples
from codecbwe_jax.errors import UserError

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif"),
    *(".aifc", ".oga", ".w64", ".rf64", ".caf", ".au", ".snd"),
)
# Audio that libsndfile cannot read: found like the rest, so that it is named and counted.
UNREADABLE = (
    *(".m4a", ".m4b", ".aac", ".mp4", ".mov", ".3gp", ".wma", ".amr", ".ape", ".wv", ".tta", ".ra"),
    *(".ac3", ".eac3", ".dts", ".mka", ".mkv", ".webm", ".dsf", ".dff"),
)
# An MP3 frame borrows bits from frames before it: after a seek, the first ones decode to silence.
MP3_LEAD = 8 * 1152
# Some encoders count the frame that holds the count.
MP3_SLACK = 1152
# Samples decoded at once: memory is taken for what is there, not for what a header claims.
BLOCK = 1 << 18
# No format packs more: a FLAC frame of 65 535 equal samples takes 11 bytes.
MOST_SAMPLES_PER_BYTE = 6000
RATES = (1000, 1_000_000)


def info(path: Path) -> tuple[int, int, int]:
    """(samples, rate in Hz, channels) of a file, from its header; decoded if that does not say.

    Raises:
      UserError: if there is no such file, or it is no audio, is empty or damaged, or its header
        claims what cannot be.
    """
    with Reader(path) as reader:
        return reader.samples, reader.rate, reader.channels


class _SoundFile(soundfile.SoundFile):
    """Reads as many samples as there are: soundfile trusts the length, and seeks to where a read
    should have ended."""

    def seekable(self) -> bool:
        return False


class _Streamed(io.FileIO):
    """A WAV whose data has the size 0, as if it had the one that says "to the end"."""

    def __init__(self, where: bytes, place: int) -> None:
        super().__init__(where)
        self._size = range(place, place + 4)

    def readinto(self, buffer: memoryview) -> int:
        begin = self.tell()
        count = super().readinto(buffer) or 0
        for place in range(max(begin, self._size.start), min(begin + count, self._size.stop)):
            buffer[place - begin : place - begin + 1] = b"\xff"
        return count


class _Source:
    """What every reading goes through: an open file and its true length.

    Args:
      where: the file's name as bytes, which holds any name, or the file itself.
      raw: the same file, for its header.
      name: for messages.
      samples: of a file that was measured before; None: it is measured now.
    """

    def __init__(
        self,
        where: bytes | io.BytesIO,
        raw: io.BufferedIOBase,
        name: str,
        samples: int | None = None,
    ) -> None:
        size = raw.seek(0, os.SEEK_END)
        unfilled = headers.unfilled(raw)
        try:
            streamed = isinstance(where, bytes) and unfilled is not None
            self._file = _SoundFile(_Streamed(where, unfilled) if streamed else where)
        except soundfile.LibsndfileError as error:
            reason = "it is empty" if size == 0 else str(error.error_string).strip()
            raise UserError(f"{name}: not an audio file that can be read ({reason})") from None
        if self._file.format == "RAW":  # taken for sound by its ending alone
            self._file.close()
            raise UserError(f"{name}: not an audio file that can be read (it has no header)")
        self.name, self.rate, self.channels = name, self._file.samplerate, self._file.channels
        self._slack = MP3_SLACK if self._file.format == "MP3" else 0
        if samples is not None:
            self.samples = samples
            return
        try:
            self._measure(raw, size)
        except BaseException:
            self.close()
            raise

    def _measure(self, raw: io.BufferedIOBase, size: int) -> None:
        if not RATES[0] <= self.rate <= RATES[1]:
            raise UserError(f"{self.name}: its header claims a rate of {self.rate} Hz")
        if self.channels > MAX_CHANNELS:
            raise UserError(
                f"{self.name}: its header claims {self.channels} channels; at most {MAX_CHANNELS} "
                "are read"
            )
        frames = self._file.frames
        if lacking := headers.lacking(raw):
            raise UserError(f"{self.name}: broken ({lacking})")
        known = headers.promised(raw, frames, self.rate)
        if known is not None and known > size * MOST_SAMPLES_PER_BYTE:
            raise UserError(
                f"{self.name}: broken: its header claims {known} samples in {size} bytes"
            )
        self.samples = self._counted() if known is None else known
        if self.samples <= 0:
            raise UserError(f"{self.name}: no samples in it, by its header")

    def _counted(self) -> int:
        total = 0
        with self._told(0):
            while count := len(self._file.read(BLOCK, dtype="float32", always_2d=True)):
                total += count
            self._file.seek(0)
        return total

    def seek(self, start: int) -> None:
        """Go to a sample."""
        with self._told(start):
            self._file.seek(start)

    def take(self, start: int, count: int) -> np.ndarray:
        """The next samples, of which the first is number `start`: all of them or UserError."""
        parts, have = [], 0
        while have < count:
            with self._told(start + have):
                part = self._file.read(min(BLOCK, count - have), dtype="float32", always_2d=True)
            if not len(part):
                break
            check_samples(part, self.name, start + have)
            parts.append(part)
            have += len(part)
        if have < count:
            if start + have < self.samples - self._slack:
                raise UserError(
                    f"{self.name}: broken at or after sample {start + have} (its header promises "
                    f"{self.samples} samples)"
                )
            parts.append(np.zeros((count - have, self.channels), np.float32))
        return np.concatenate(parts) if parts else np.zeros((0, self.channels), np.float32)

    @contextlib.contextmanager
    def _told(self, start: int) -> Iterator[None]:
        try:
            yield
        except (soundfile.LibsndfileError, ValueError) as error:
            raise UserError(f"{self.name}: broken at or after sample {start} ({error})") from None

    def close(self) -> None:
        self._file.close()


# as often as a training run draws from the same files: an MP3's frames are counted once
@functools.lru_cache(maxsize=1 << 16)
def _measured(path: Path, size: int, changed_ns: int) -> int:
    """Samples of a file of this size and time of change."""
    with path.open("rb") as raw:
        source = _Source(os.fsencode(path), raw, str(path))
    with contextlib.closing(source):
        return source.samples


class Reader:
    """A file that is opened once and read in several places; a context manager.

    Args:
      path: WAV, FLAC, OGG, MP3 or whatever else libsndfile knows.

    Attributes:
      samples: of each channel.
      rate: in Hz.
      channels: how many.

    Raises:
      UserError: as `info`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        suffix = path.suffix.lower()
        if suffix in UNREADABLE:
            raise UserError(
                f"{path}: {suffix} is not read; convert it first: ffmpeg -i {path.name} "
                f"{path.stem}.wav"
            )
        try:
            stat = path.stat()
            samples = _measured(path, stat.st_size, stat.st_mtime_ns)
            with path.open("rb") as raw:
                self._source = _Source(os.fsencode(path), raw, str(path), samples)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        self.samples, self.rate = self._source.samples, self._source.rate
        self.channels = self._source.channels
        self._lead = MP3_LEAD if suffix == ".mp3" else 0

    def read(self, start: int = 0, frames: int = -1) -> np.ndarray:
        """Samples from `start` on, -1 for all, float32 `[samples, channels]` in [-1, 1].

        Raises:
          UserError: if they cannot be decoded, are fewer than the header promises, or one is NaN
            or infinite.
        """
        lead = min(start, self._lead)
        return _read(self._source, start - lead, frames + lead if frames >= 0 else -1)[lead:]

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """The whole file in consecutive blocks of at most `size` samples, as `read`."""
        self._source.seek(0)
        for start in range(0, self.samples, size):
            yield self._source.take(start, min(size, self.samples - start))

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()


def _read(source: _Source, start: int, frames: int) -> np.ndarray:
    source.seek(start)
    left = source.samples - start
    return source.take(start, left if frames < 0 else min(frames, left))


def read(path: Path, start: int = 0, frames: int = -1) -> tuple[np.ndarray, int]:
    """Read samples from a file.

    Args:
      path: WAV, FLAC, OGG, MP3 or whatever else libsndfile knows.
      start: first sample.
      frames: samples to read, -1 for all.

    Returns:
      float32 `[samples, channels]` in [-1, 1] and the rate in Hz.

    Raises:
      UserError: as `info`, and if the file cannot be decoded to its end or holds NaN or infinite
        samples.
    """
    with Reader(path) as reader:
        return reader.read(start, frames), reader.rate


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Consecutive blocks of a file, float32 `[samples, channels]`, read anew whenever they are gone
    through.

    Attributes:
      path: as of `read`.
      size: samples of a block at most.

    Raises:
      UserError: as `read`, when they are gone through.
    """

    path: Path
    size: int

    def __iter__(self) -> Iterator[np.ndarray]:
        with Reader(self.path) as reader:
            yield from reader.blocks(self.size)


def encode(samples: np.ndarray, rate: int, name: object = "waveform") -> bytes:
    """A waveform float32 `[samples]` in [-1, 1] as the bytes of a 16-bit FLAC file.

    Raises:
      UserError: names what has a NaN or infinite sample.
    """
    check_finite(samples, name)
    buffer = io.BytesIO()
    levels = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    soundfile.write(buffer, levels, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode(encoded: bytes, name: str, start: int = 0, frames: int = -1) -> tuple[np.ndarray, int]:
    """Read samples from a FLAC file's bytes: as `read`, the name being for messages."""
    source = _Source(io.BytesIO(encoded), io.BytesIO(encoded), name)
    with contextlib.closing(source):
        return _read(source, start, frames), source.rate


def find(folder: Path, suffixes: Sequence[str] = (*SUFFIXES, *UNREADABLE)) -> list[Path]:
    """All files below a folder with one of these endings, sorted by path; not hidden ones. Linked
    folders are followed, each folder once."""
    seen = {os.path.realpath(folder)}
    found = []
    for where, folders, names in os.walk(folder, followlinks=True):
        places = {name: os.path.join(where, name) for name in folders}
        # what lies here itself goes before what is linked
        folders.sort(key=lambda name, places=places: (os.path.islink(places[name]), name))
        kept = []
        for name in folders:
            real = os.path.realpath(places[name])
            if real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        found += [Path(where, name) for name in names if not name.startswith(".")]
    return sorted(p for p in found if p.suffix.lower() in suffixes and p.is_file())


class Writer:
    """Write a file block by block, under a temporary name until it is complete.

    Args:
      path: ends in ".wav", ".flac" or ".ogg".
      rate: in Hz.
      channels: number of channels.
      subtype: "PCM_16", "PCM_24" or "FLOAT"; ignored for ".ogg".

    Raises:
      UserError: if the folder cannot be written or the format is unknown.
    """

    def __init__(self, path: Path, rate: int, channels: int, subtype: str = "PCM_16") -> None:
        self.path = path
        self.clipped = 0
        if path.suffix.lower() not in (".wav", ".flac", ".ogg"):
            raise UserError(f"{path}: output can be .wav, .flac or .ogg")
        if path.suffix.lower() == ".flac" and subtype == "FLOAT":
            raise UserError(f"{path}: a FLAC holds 16 or 24 bits; floats need a .wav")
        self._float = subtype == "FLOAT"
        self._written = 0
        with contextlib.ExitStack() as stack:
            partial = stack.enter_context(atomic.whole(path))
            stack.push(functools.partial(self._check_whole, partial))
            with self._told():
                self._file = soundfile.SoundFile(
                    os.fsencode(partial),
                    "w",
                    rate,
                    channels,
                    None if path.suffix.lower() == ".ogg" else subtype,
                )
            stack.push(self._close)
            self._ending = stack.pop_all()

    def write(self, block: np.ndarray) -> None:
        """Append float32 `[samples, channels]`; beyond full scale it is clipped and counted.

        Raises:
          UserError: if a sample is NaN or infinite, or the disk takes no more.
        """
        check_finite(block, self.path, self._written)
        self._written += len(block)
        if not self._float:
            self.clipped += int(np.sum(np.abs(block) > 1.0))
            block = np.clip(block, -1.0, 1.0)
        with self._told():
            self._file.write(block)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: Any) -> None:
        self._ending.__exit__(*error)

    def _close(self, *_: object) -> None:
        with self._told():
            self._file.close()

    def _check_whole(self, partial: Path, kind: type[BaseException] | None, *_: object) -> None:
        """libsndfile does not tell of a full disk while it closes a FLAC."""
        if kind or not self._written:
            return
        try:
            with Reader(partial) as reader:
                whole = reader.samples == self._written and len(reader.read(self._written - 1, 1))
        except UserError:
            whole = False
        if not whole:
            raise UserError(f"{self.path}: cannot be written (is the disk full?)")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (soundfile.LibsndfileError, AssertionError) as error:  # the latter: a short write
            raise UserError(f"{self.path}: cannot be written ({error or 'disk full'})") from None


def write(path: Path, samples: np.ndarray, rate: int, subtype: str = "PCM_16") -> None:
    """Write a whole waveform `[samples]` or `[samples, channels]`, float32."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    with Writer(path, rate, samples.shape[1], subtype) as writer:
        writer.write(samples)
