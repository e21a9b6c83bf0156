"""Folders that `codecbwe corpus` writes: a TFDS dataset of FLAC files, with an index beside it.

The index says of every record what a run chooses by, so that no audio is read to choose; the audio
comes through `tfds.data_source`, without TensorFlow.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from codecbwe_jax import json_lines
from codecbwe_jax.audio import files
from codecbwe_jax.data import shards
from codecbwe_jax.errors import UserError
from codecbwe_jax.json_lines import Row

# what each shard is to hold, and what it holds
PLAN, INDEX = "plan", "index"


def is_corpus(folder: Path) -> bool:
    """Whether a folder is such a dataset.

    Raises:
      UserError: if it is one that is not complete.
    """
    if not (folder / PLAN).is_dir():
        return False
    if not (folder / "dataset_info.json").is_file():
        raise UserError(f"{folder}: not complete; the same codecbwe corpus command goes on with it")
    return True


def listing_name(split: str, shard: int, count: int) -> str:
    """The file of the plan, or of the index, that belongs to a shard. The index has a JSON object
    for every record, in order, then for every utterance left out, with why as "left_out"."""
    return f"{split}-{shard:05d}-of-{count:05d}.jsonl"


def index_rows(folder: Path) -> Iterator[tuple[str, int | None, Row]]:
    """(split, record's place in it, row of the index); no place for what was left out.

    Raises:
      UserError: if a line is malformed.
    """
    places: dict[str, int] = {}
    for path in sorted((folder / INDEX).glob("*.jsonl")):
        split = path.name.rsplit("-", 3)[0]
        for row in json_lines.rows(path):
            if "left_out" in row.fields:
                yield split, None, row
            else:
                place = places.get(split, 0)
                yield split, place, row
                places[split] = place + 1


def read(
    folder: Path, split: str, record: int, start: int = 0, frames: int = -1
) -> tuple[np.ndarray, int]:
    """Read samples of a record.

    Args:
      folder: of the dataset.
      split: "train" or another.
      record: place in the split.
      start, frames: as for `files.read`.

    Returns:
      float32 `[samples, channels]` in [-1, 1] and the rate in Hz.

    Raises:
      UserError: if the folder is no whole dataset or the record cannot be decoded.
    """
    stored = _opened(folder, split)[record]["flac"]
    return files.decode(stored, f"{folder}: record {record} of {split}", start, frames)


@functools.lru_cache(maxsize=16)
def _opened(folder: Path, split: str) -> Any:
    return shards.open_split(folder, split)
