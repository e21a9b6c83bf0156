"""ArrayRecord shards in a folder that TFDS describes: written here, read through `tfds`.

TFDS is imported where it is used: it takes 0.7 s, and TensorFlow is never needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from codecbwe_jax import atomic
from codecbwe_jax.errors import UserError


def shard_name(dataset: str, split: str, index: int, count: int) -> str:
    """The name that TFDS gives a shard's file."""
    return f"{dataset}-{split}.array_record-{index:05d}-of-{count:05d}"


class NewShard:
    """A shard that has its name only when it is whole.

    Several may be written for the same name at once, as Beam's runners do; the last one stays.

    Args:
      path: of the shard; its folder is made.
      features: a `tfds.features.FeaturesDict`, what a record holds.

    Raises:
      UserError: from every method, if the disk is full or takes no more for another reason.
    """

    def __init__(self, path: Path, features: Any) -> None:
        self._path, self._features = path, features
        self._partial = atomic.temporary(path, unique=True)
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            # a group is what one random read decompresses
            self._writer = ArrayRecordWriter(str(self._partial), "group_size:1")

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record."""
        with self._told():
            self._writer.write(self._features.serialize_example(record))

    def close(self) -> None:
        """Write what is left, and give the shard its name."""
        with self._told():
            self._writer.close()
            self._partial.rename(self._path)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # array_record raises the latter for both
            self._partial.unlink(missing_ok=True)
            raise UserError(
                f"{self._path}: cannot be written ({error}); whole shards stay, and the same "
                "command goes on after them"
            ) from None


def remove_partial(folder: Path) -> None:
    """Remove what killed jobs left, when no other is writing."""
    for path in folder.glob(atomic.LEFTOVERS):
        path.unlink(missing_ok=True)


def split_info(
    folder: str, dataset: str, split: str, lengths: Sequence[int], num_bytes: int
) -> Any:
    """TFDS's description of a split.

    Args:
      folder: of the dataset.
      dataset: its name, as in the shards' names.
      split: "train" or another.
      lengths: records of every shard, in order.
      num_bytes: of all shards together.
    """
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        dataset_name=dataset, data_dir=folder, split=split, filetype_suffix="array_record"
    )
    return tfds.core.SplitInfo(
        name=split, shard_lengths=list(lengths), num_bytes=num_bytes, filename_template=template
    )


def open_split(folder: Path, split: str) -> Any:
    """Random access to the records of a split.

    Raises:
      UserError: if the folder is no whole dataset.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(str(folder)).as_data_source(split)
    except Exception as error:  # tfds raises many kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{folder}: not a complete dataset ({first})") from None
