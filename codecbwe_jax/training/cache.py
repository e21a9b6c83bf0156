"""Encode and decode a run's recordings beforehand: tokens and decoded audio in ArrayRecord shards.

`cache.json` holds the key of what was cached, and the folder of that name is a TFDS dataset
(`tfds.builder_from_directory`). A shard is written under a temporary name; a job that was killed
goes on after its last complete shard. Hosts take every n-th shard.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from ml_collections import ConfigDict

from codecbwe_jax import systems
from codecbwe_jax.audio import files
from codecbwe_jax.config import write_json
from codecbwe_jax.data import codec_pairs, shards
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.training import codec_input, devices, settings
from codecbwe_jax.training.data import find_recordings
from codecbwe_jax.training.logs import ProgressReport

NAME = "codec_pairs"
CHUNKS_PER_SHARD = 1024


def write_cache(
    config: ConfigDict, output: Path, host: int | None = None, hosts: int | None = None
) -> dict[str, float]:
    """Make the cache that `config.data.input = codec_cached` reads.

    Args:
      config: of the training run; `config.data.codec` names the codec.
      output: the cache's folder.
      host, hosts: which of how many processes this is; JAX's own count if None.

    Returns:
      "seconds_per_second" (of audio, of this process), "bytes_per_hour".

    Raises:
      UserError: on a bad config or data, or a folder that cannot be written.
    """
    host = jax.process_index() if host is None else host
    hosts = jax.process_count() if hosts is None else hosts
    settings.check(config)
    system = systems.build(config.system)
    source, codec = codec_input.open_codec(config, system)
    mapping = devices.build(config.train.mapping, config.train.batch_size, jax.local_devices())
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror})") from None
    found, _ = find_recordings(config, system.output_rate, output)
    chunks = codec_pairs.chunks(found, config.data.chunk_seconds)
    parts = [chunks[i : i + CHUNKS_PER_SHARD] for i in range(0, len(chunks), CHUNKS_PER_SHARD)]
    key = codec_input.cache_key(chunks, source.settings)
    paths = [
        output / key / shards.shard_name(NAME, "train", i, len(parts)) for i in range(len(parts))
    ]

    seconds = config.data.chunk_seconds
    mine = [i for i in range(len(parts)) if i % hosts == host]
    left = [i for i in mine if not paths[i].exists()]
    print(f"{len(chunks)} chunks, {len(parts)} shards, {len(left)} of {len(mine)} left", flush=True)
    progress = ProgressReport(sum(len(parts[i]) for i in left), 0, seconds, "chunk")
    run = _compiled(codec, mapping)
    began, done, said = time.monotonic(), 0, time.monotonic()
    with contextlib.closing(progress):
        for i in left:
            batches = codec_pairs.batched_chunks(
                parts[i], source.settings, config.train.batch_size, progress.line
            )
            shard = shards.NewShard(paths[i], _features())
            for heard, good in batches:
                for row in zip(*run(heard), good, strict=False):  # the last batch is filled up
                    shard.write(_record(*row, source.settings.codec_rate))
                done += len(good)
                if time.monotonic() - said > 10 or done == progress.total:
                    progress.update(done, {})
                    said = time.monotonic()
            shard.close()
    spent = time.monotonic() - began
    if not all(path.exists() for path in paths):
        print(f"host {host} of {hosts} is done; others are not", flush=True)
    else:
        _write_metadata(output, key, paths)
    size = sum(path.stat().st_size for path in paths if path.exists())
    hours = len(chunks) * seconds / 3600
    return {
        "seconds_per_second": done * seconds / max(spent, 1e-9) if done else float("nan"),
        "bytes_per_hour": size / hours,
    }


def _features() -> Any:
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=np.int32),
            "decoded": tfds.features.Tensor(shape=(), dtype=np.object_),
        }
    )


def _compiled(
    codec: FrozenCodec, mapping: devices.DeviceMapping
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Windows `[B, window]` -> (tokens, decoded), the batch divided over the devices."""
    params = mapping.place(codec.params)
    run = mapping.map_rows(lambda p, x: codec_input.round_trip(codec.system, p, x["heard"]))
    return lambda heard: run(params, mapping.divide({"heard": heard}))


def _record(tokens: np.ndarray, decoded: np.ndarray, good: bool, rate: int) -> dict[str, Any]:
    """A chunk that could not be read has an empty record, and training replaces it as it does a
    file that cannot be read."""
    if not good:
        tokens, decoded = tokens[:0], decoded[:1]
    return {"tokens": tokens, "decoded": files.encode(decoded, rate, "what the codec decodes")}


def _write_metadata(output: Path, key: str, paths: Sequence[Path]) -> None:
    """What makes the shards a dataset, and last the key that says that the cache is complete."""
    import tensorflow_datasets as tfds

    folder = paths[0].parent
    shards.remove_partial(folder)
    lengths = [ArrayRecordReader(str(path)).num_records() for path in paths]
    size = sum(path.stat().st_size for path in paths)
    split = shards.split_info(str(folder), NAME, "train", lengths, size)
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder), features=_features(), split_infos=[split], check_data=False
    )
    write_json(output / "cache.json", {"key": key})
