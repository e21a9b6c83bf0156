"""Speech to compare an export with its model by: synthetic voices, or a user's own clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr

from codecbwe_jax.audio import files
from codecbwe_jax.data import synthetic
from codecbwe_jax.errors import UserError

# name -> waveforms float32 `[samples]` at the model's input rate
Speech = dict[str, list[np.ndarray]]
VOICES = 2
# of an odd number of samples at every rate, which a pipeline of whole hops must give back
VOICE_SECONDS = 0.95
CLIP_SECONDS = 10.0


def speech(rate: int, folder: Path | None = None) -> Speech:
    """What is compared.

    Args:
      rate: that the model takes, in Hz.
      folder: of audio files, of which the first ten seconds of the first channel count; None:
        voices alone.

    Raises:
      UserError: if the folder has no audio, or a file cannot be read.
    """
    found: Speech = {"voices": [_voice(i, rate) for i in range(VOICES)]}
    if folder is not None:
        paths = files.find(folder)
        if not paths:
            raise UserError(f"{folder}: no audio files in it ({', '.join(files.SUFFIXES)})")
        found["clips"] = [_clip(path, rate) for path in paths]
    return found


def _voice(seed: int, rate: int) -> np.ndarray:
    wide = synthetic.utterance(synthetic.make_voice(seed), 1.0, seed)
    return soxr.resample(wide, synthetic.RATE, rate)[: round(VOICE_SECONDS * rate) | 1]


def _clip(path: Path, rate: int) -> np.ndarray:
    with files.Reader(path) as reader:
        x = reader.read(0, min(reader.samples, int(CLIP_SECONDS * reader.rate)))[:, 0]
    return x if reader.rate == rate else soxr.resample(x, reader.rate, rate)
