"""Reading and writing audio files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from codecbwe_jax.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif")
# An MP3 frame borrows bits from frames before it: after a seek, the first ones decode to silence.
MP3_LEAD = 8 * 1152


def info(path: Path) -> tuple[int, int, int]:
    """(samples, rate in Hz, channels) of a file, from its header.

    Raises:
      UserError: if there is no such file, or it is no audio, or it is empty.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        header = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        reason = "it is empty" if path.stat().st_size == 0 else str(error.error_string).strip()
        raise UserError(f"{path}: not an audio file that can be read ({reason})") from None
    if header.frames <= 0:
        raise UserError(f"{path}: no samples in it")
    return header.frames, header.samplerate, header.channels


class Reader:
    """A file that is opened once and read in several places; a context manager.

    Args:
      path: WAV, FLAC, OGG, MP3 or whatever else libsndfile knows.

    Raises:
      UserError: as `info`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples, self.rate, _ = info(path)
        self._file = soundfile.SoundFile(str(path))
        self._lead = MP3_LEAD if path.suffix.lower() == ".mp3" else 0

    def read(self, start: int = 0, frames: int = -1) -> np.ndarray:
        """Samples from `start` on, -1 for all, float32 `[samples, channels]` in [-1, 1].

        Raises:
          UserError: if they cannot be decoded, or one is NaN or infinite.
        """
        lead = min(start, self._lead)
        wanted = frames + lead if frames >= 0 else -1
        return _decoded(self._file, str(self.path), start - lead, wanted)[lead:]

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read(path: Path, start: int = 0, frames: int = -1) -> tuple[np.ndarray, int]:
    """Read samples from a file.

    Args:
      path: WAV, FLAC, OGG, MP3 or whatever else libsndfile knows.
      start: first sample.
      frames: samples to read, -1 for all.

    Returns:
      float32 `[samples, channels]` in [-1, 1] and the rate in Hz.

    Raises:
      UserError: if the file cannot be decoded or holds NaN or infinite samples.
    """
    with Reader(path) as reader:
        return reader.read(start, frames), reader.rate


def encode(samples: np.ndarray, rate: int) -> bytes:
    """A waveform float32 `[samples]` in [-1, 1] as the bytes of a 16-bit FLAC file."""
    buffer = io.BytesIO()
    levels = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    soundfile.write(buffer, levels, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode(encoded: bytes, name: str, start: int = 0, frames: int = -1) -> tuple[np.ndarray, int]:
    """Read samples from a FLAC file's bytes: as `read`, the name being for messages."""
    try:
        file = soundfile.SoundFile(io.BytesIO(encoded))
    except soundfile.LibsndfileError as error:
        raise UserError(f"{name}: cannot be decoded ({error})") from None
    with file:
        return _decoded(file, name, start, frames), file.samplerate


def _decoded(file: soundfile.SoundFile, name: str, start: int, frames: int) -> np.ndarray:
    try:
        file.seek(start)
        samples = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise UserError(f"{name}: broken at or after sample {start} ({error})") from None
    check_finite(samples, name, start)
    return samples


def check_finite(samples: np.ndarray, name: object, start: int = 0) -> None:
    """Raise UserError that names the first NaN or infinite sample of a block `[n, channels]`."""
    if not np.isfinite(samples).all():
        first = start + int(np.argmin(np.isfinite(samples).all(axis=1)))
        raise UserError(f"{name}: sample {first} is NaN or infinite; finite samples are needed")


def blocks(path: Path, size: int) -> Iterator[np.ndarray]:
    """Consecutive blocks of at most `size` samples, float32 `[samples, channels]`.

    Raises:
      UserError: as `read`.
    """
    start = 0
    try:
        with soundfile.SoundFile(str(path)) as file:
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                check_finite(block, path, start)
                yield block
                start += len(block)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: broken at or after sample {start} ({error})") from None


def find(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """All files below a folder with one of these endings, sorted by path; not hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith(".")
    )


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
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._float = subtype == "FLOAT"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = soundfile.SoundFile(
                str(self._partial),
                "w",
                rate,
                channels,
                None if path.suffix.lower() == ".ogg" else subtype,
            )
        except (OSError, soundfile.LibsndfileError) as error:
            raise UserError(f"{path}: cannot be written ({error})") from None

    def write(self, block: np.ndarray) -> None:
        """Append float32 `[samples, channels]`; beyond full scale it is clipped and counted."""
        if not self._float:
            self.clipped += int(np.sum(np.abs(block) > 1.0))
            block = np.clip(block, -1.0, 1.0)
        self._file.write(block)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)


def write(path: Path, samples: np.ndarray, rate: int, subtype: str = "PCM_16") -> None:
    """Write a whole waveform `[samples]` or `[samples, channels]`, float32."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    with Writer(path, rate, samples.shape[1], subtype) as writer:
        writer.write(samples)
