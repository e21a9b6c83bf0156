"""Raw samples from one file descriptor to another, extended as they come."""

from __future__ import annotations

import os
import sys

import numpy as np

from codecbwe_jax.audio.waveform import check_finite
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.streaming import StreamingExtender

# bytes read at once at most; a pipe gives what it has
READ = 1 << 16
# how samples lie in the pipe: little-endian, one channel
FORMATS: dict[str, np.dtype] = {"PCM_16": np.dtype("<i2"), "FLOAT": np.dtype("<f4")}


def extend_pipe(model: str, source: int, target: int, subtype: str = "PCM_16") -> None:
    """Extend until the source ends. What was read is written before more is read.

    Args:
      model: see `inference.model_folders.load_model`.
      source, target: file descriptors.
      subtype: of the samples on both sides, a key of `FORMATS`.

    Raises:
      UserError: if the model cannot run on a stream, on another subtype, if a sample is refused
        (see `StreamingExtender.push`) or made NaN, or if the source ends within a sample.
    """
    if subtype not in FORMATS:
        raise UserError("a stream has samples of 16 bits or float: --bits=16 or --bits=float")
    extender = StreamingExtender.load(model)
    print(
        f"{extender.input_rate} Hz -> {extender.output_rate} Hz, {FORMATS[subtype].str[1:]}, mono, "
        f"delay {1000 * extender.delay / extender.output_rate:.1f} ms",
        file=sys.stderr,
        flush=True,
    )
    width = FORMATS[subtype].itemsize
    rest, written = b"", 0
    while data := os.read(source, READ):
        data = rest + data
        whole = len(data) // width * width
        data, rest = data[:whole], data[whole:]
        written = _write(target, extender.push(_samples(data, subtype)), subtype, written)
    _write(target, extender.flush(), subtype, written)
    if rest:
        raise UserError(f"the stream ended within a sample: {len(rest)} of {width} bytes")


def _samples(data: bytes, subtype: str) -> np.ndarray:
    values = np.frombuffer(data, FORMATS[subtype])
    return values.astype(np.float32) / (32768 if subtype == "PCM_16" else 1)


def _write(target: int, samples: np.ndarray, subtype: str, start: int) -> int:
    """Write samples, the first being number `start`; gives the number of the next."""
    check_finite(samples, "output", start)
    if subtype == "PCM_16":
        samples = np.clip(np.rint(samples * 32768), -32768, 32767)
    data = memoryview(samples.astype(FORMATS[subtype]).tobytes())
    while data:
        data = data[os.write(target, data) :]
    return start + len(samples)
