"""The Beam pipeline that writes a corpus' shards, on this machine or on a cluster.

Each worker reads the plan of a shard and writes the shard, under another name until it is whole. So
nothing passes from worker to worker, and a job that was killed goes on with the shards that are not
there yet. (TFDS's own writer on Beam needs no TensorFlow either, but sends all audio through a
shuffle, and begins anew when it is killed.)
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from codecbwe_jax.corpora import reading, storage
from codecbwe_jax.corpora.chapters import Chapter, Settings
from codecbwe_jax.data import corpus_folder, shards
from codecbwe_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker must know.

    Attributes:
      source: the corpus' folder or address.
      folder: of the dataset to write, or its address.
      dataset: its name.
      settings: of the corpus.
      codec: folder of a codec whose tokens are stored too, "" for none.
    """

    source: str
    folder: str
    dataset: str
    settings: Settings
    codec: str = ""

    def path(self, *names: str) -> str:
        return "/".join([self.folder.rstrip("/"), *names])


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which one."""

    split: str
    index: int
    count: int

    def file(self, job: Job) -> str:
        return job.path(shards.shard_name(job.dataset, self.split, self.index, self.count))

    def listing(self, job: Job, kind: str) -> str:
        """Path of its part of the plan or of the index."""
        return job.path(kind, corpus_folder.listing_name(self.split, self.index, self.count))


def write_shards(
    job: Job, splits: Mapping[str, Sequence[Sequence[Chapter]]], options: PipelineOptions
) -> dict[str, list[Shard]]:
    """Write the shards that are not there yet.

    Args:
      job: what to write, and where.
      splits: the chapters of every shard of every split.
      options: of Beam.

    Returns:
      All shards of every split.

    Raises:
      UserError: if the folder holds shards of another plan, or a shard cannot be written.
    """
    wanted = {
        split: [Shard(split, i, len(parts)) for i in range(len(parts))]
        for split, parts in splits.items()
    }
    _write_plan(job, splits, wanted)
    there = storage.names(job.folder)
    left = [
        shard
        for every in wanted.values()
        for shard in every
        if shard.file(job).rsplit("/", 1)[1] not in there
    ]
    count = sum(len(every) for every in wanted.values())
    print(f"{count} shards, {len(left)} left", flush=True)
    if left:
        with _one_line(), beam.Pipeline(options=options) as p:
            _ = p | beam.Create(left) | beam.Reshuffle() | beam.ParDo(WriteShard(job))
    return wanted


def local_options(workers: int | None = None) -> PipelineOptions:
    """Beam's options for so many processes of this machine; None: one for each core."""
    workers = workers or len(os.sched_getaffinity(0))
    return PipelineOptions(
        [
            "--runner=DirectRunner",
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={workers}",
            "--default_sdk_harness_log_level=ERROR",
        ]
    )


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """What a worker told its user, taken out of the runner's report of it."""
    try:
        yield
    except Exception as error:  # runners wrap what a worker raises, each in its way
        told = re.findall(r"UserError: (.+?)(?: \[while running| \[\\|\\n|\n|$)", str(error))
        if not told:
            raise
        raise UserError(told[-1]) from None


def _write_plan(
    job: Job,
    splits: Mapping[str, Sequence[Sequence[Chapter]]],
    wanted: Mapping[str, Sequence[Shard]],
) -> None:
    """Write what belongs to each shard, and a hash of it all, last."""
    parts = [
        (shard, part)
        for split, every in splits.items()
        for shard, part in zip(wanted[split], every, strict=True)
    ]
    facts = {"settings": dataclasses.asdict(job.settings), "codec": job.codec}
    # made twice rather than kept: all of them together are gigabytes for a large corpus
    sums = [hashlib.sha256(_listed(part).encode()).hexdigest() for _, part in parts]
    key = hashlib.sha256(json.dumps([facts, sums]).encode()).hexdigest()[:16]
    place = job.path(corpus_folder.PLAN, "key")
    if storage.exists(place):
        if storage.read_text(place) != key:
            raise UserError(
                f"{job.folder}: begun from another corpus or with other settings; give another "
                "output, or remove this one"
            )
        return
    for shard, part in parts:
        storage.write_text(shard.listing(job, corpus_folder.PLAN), _listed(part))
    storage.write_text(place, key)


def _listed(part: Sequence[Chapter]) -> str:
    return "".join(json.dumps(chapter.to_json()) + "\n" for chapter in part)


class WriteShard(beam.DoFn):
    """Writes a shard and its part of the index, the shard last."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tokens: reading.Tokens | None = None

    def setup(self) -> None:
        if self.job.codec:
            from codecbwe_jax.inference.frozen_codec import FrozenCodec

            self.tokens = FrozenCodec.load(self.job.codec).tokens

    def process(self, shard: Shard) -> None:
        job, began = self.job, time.monotonic()
        stored, left_out, seconds = [], [], 0.0
        features = reading.features(bool(job.codec))
        with storage.stand_in(shard.file(job)) as path:
            new = shards.NewShard(path, features)
            for row in storage.json_rows(shard.listing(job, corpus_folder.PLAN)):
                chapter = Chapter.from_json(row.fields)
                for outcome in reading.outcomes(chapter, job.source, job.settings, self.tokens):
                    if outcome.record is None:
                        left_out.append(outcome.row)
                    else:
                        new.write(outcome.record)
                        stored.append(outcome.row)
                        seconds += outcome.row["samples"] / outcome.row["rate"]
            rows = "".join(json.dumps(row) + "\n" for row in [*stored, *left_out])
            storage.write_text(shard.listing(job, corpus_folder.INDEX), rows)
            new.close()
        print(
            f"{shard.split} {shard.index + 1}/{shard.count}: {len(stored)} utterances, "
            f"{seconds / 60:.1f} minutes, {len(left_out)} left out, "
            f"{seconds / (time.monotonic() - began):.0f} times real time",
            flush=True,
        )


@dataclasses.dataclass(frozen=True)
class Written:
    """What is in the shards of a split.

    Attributes:
      lengths: records of each.
      num_bytes: of all.
      seconds: of audio.
      left_out: how many utterances for which reason.
    """

    lengths: list[int]
    num_bytes: int
    seconds: float
    left_out: collections.Counter[str]


def written(job: Job, every: Sequence[Shard]) -> Written:
    """Read the index of a split's shards.

    Raises:
      UserError: if one is not there.
    """
    lengths, left_out, seconds = [], collections.Counter(), 0.0
    for shard in every:
        rows = [row.fields for row in storage.json_rows(shard.listing(job, corpus_folder.INDEX))]
        stored = [row for row in rows if "left_out" not in row]
        lengths.append(len(stored))
        left_out.update(row["left_out"] for row in rows if "left_out" in row)
        seconds += sum(row["samples"] / row["rate"] for row in stored)
    size = sum(storage.size(shard.file(job)) for shard in every)
    return Written(lengths, size, seconds, left_out)
