"""Encode and decode a run's recordings beforehand: tokens and decoded audio in ArrayRecord shards.

`cache.json` holds the key of what was cached, and the folder of that name is a TFDS dataset
(`tfds.builder_from_directory`). A shard is written under a temporary name; a job that was killed
goes on after its last complete shard. Hosts take every n-th shard.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from ml_collections import ConfigDict

from codecbwe_jax import systems
from codecbwe_jax.config import write_json
from codecbwe_jax.data import codec_pairs
from codecbwe_jax.data.recordings import Recording
from codecbwe_jax.errors import UserError
from codecbwe_jax.training import codec_input
from codecbwe_jax.training.logs import ProgressReport
from codecbwe_jax.training.loop import find_recordings

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
    config = config.copy_and_resolve_references()
    config.data.input = "codec_online"
    system = systems.build(config.system)
    source = codec_input.load(config, system)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror})") from None
    found, _ = find_recordings(config, system.output_rate, output)
    chunks = codec_pairs.chunks(found, config.data.chunk_seconds)
    shards = [chunks[i : i + CHUNKS_PER_SHARD] for i in range(0, len(chunks), CHUNKS_PER_SHARD)]
    key = codec_input.cache_key(chunks, source.settings)
    paths = [_shard_path(output / key, i, len(shards)) for i in range(len(shards))]
    run = jax.jit(lambda p, x: codec_input.round_trip(source.codec, p, x))
    params = jax.device_put(source.params)

    seconds = config.data.chunk_seconds
    mine = [i for i in range(len(shards)) if i % hosts == host]
    left = [i for i in mine if not paths[i].exists()]
    print(
        f"{len(chunks)} chunks, {len(shards)} shards, {len(left)} of {len(mine)} left", flush=True
    )
    progress = ProgressReport(sum(len(shards[i]) for i in left), 0, seconds)
    began, done = time.monotonic(), 0
    for i in left:
        batch = config.train.batch_size
        done += _write_shard(paths[i], shards[i], batch, source, run, params, progress, done)
    progress.close()
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


def _shard_path(folder: Path, index: int, count: int) -> Path:
    return folder / f"{NAME}-train.array_record-{index:05d}-of-{count:05d}"


def _features() -> Any:
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "tokens": tfds.features.Tensor(shape=(None,), dtype=np.int32),
            "decoded": tfds.features.Tensor(shape=(), dtype=np.object_),
        }
    )


def _write_shard(
    path: Path,
    chunks: Sequence[Recording],
    batch_size: int,
    source: codec_input.CodecInput,
    run: Any,
    params: Any,
    progress: ProgressReport,
    done: int,
) -> int:
    """One shard; returns the number of chunks. A chunk that cannot be read leaves an empty record,
    which training replaces as it does a file that cannot be read."""
    s, features = source.settings, _features()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    writer = ArrayRecordWriter(str(partial), "group_size:1")
    said = time.monotonic()
    for at in range(0, len(chunks), batch_size):
        rows, broken = [], set()
        for i, chunk in enumerate(chunks[at : at + batch_size]):
            try:
                rows.append(codec_pairs.read_chunk(chunk, s)[1])
            except UserError as error:
                progress.line(f"cannot read {error}")
                rows.append(np.zeros(s.window_samples, np.float32))
                broken.add(i)
        count = len(rows)
        rows += [rows[0]] * (batch_size - count)
        tokens, decoded = jax.device_get(run(params, np.stack(rows)))
        for i in range(count):
            good = i not in broken
            record = {
                "tokens": tokens[i] if good else tokens[i][:0],
                "decoded": codec_pairs.pack(decoded[i] if good else decoded[i][:1], s.codec_rate),
            }
            writer.write(features.serialize_example(record))
        if time.monotonic() - said > 10 or at + count == len(chunks):
            progress.update(done + at + count, {})
            said = time.monotonic()
    writer.close()
    partial.rename(path)
    return len(chunks)


def _write_metadata(output: Path, key: str, paths: Sequence[Path]) -> None:
    """What makes the shards a dataset, and last the key that says that the cache is complete."""
    import tensorflow_datasets as tfds

    lengths = [ArrayRecordReader(str(path)).num_records() for path in paths]
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=lengths,
        num_bytes=sum(path.stat().st_size for path in paths),
        filename_template=tfds.core.ShardedFileTemplate(
            dataset_name=NAME,
            data_dir=str(paths[0].parent),
            split="train",
            filetype_suffix="array_record",
        ),
    )
    tfds.folder_dataset.write_metadata(
        data_dir=str(paths[0].parent), features=_features(), split_infos=[split], check_data=False
    )
    write_json(output / "cache.json", {"key": key})
