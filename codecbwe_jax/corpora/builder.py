"""What the TFDS builders of corpora share.

A builder says what its corpus consists of; `download_and_prepare` writes it by Beam, goes on where
a killed one stopped, and stores FLAC files in ArrayRecord shards, which
`tfds.data_source` and `config.data.path` read. TensorFlow is never needed.
"""

from __future__ import annotations

import abc
import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from codecbwe_jax.corpora import pipeline, reading, storage
from codecbwe_jax.corpora.chapters import Chapter, Settings, choose, into_shards
from codecbwe_jax.data import shards
from codecbwe_jax.data.recordings import counted
from codecbwe_jax.errors import UserError


@dataclasses.dataclass(eq=False)
class CorpusConfig(tfds.core.BuilderConfig):
    """A way to take a corpus.

    Attributes:
      settings: what is taken, and how it is stored.
      codec: folder of a codec whose tokens are stored too; "" for none.
    """

    settings: Settings = dataclasses.field(default_factory=Settings)
    codec: str = ""


class CorpusBuilder(FileReaderBuilder):
    """A corpus as a TFDS dataset of FLAC files."""

    VERSION = tfds.core.Version("1.0.0")
    ABOUT: ClassVar[str] = ""
    HOMEPAGE: ClassVar[str | None] = None
    CITATION: ClassVar[str | None] = None

    def __init__(self, *, file_format: Any = "array_record", **kwargs: Any) -> None:
        super().__init__(file_format=file_format, **kwargs)

    @abc.abstractmethod
    def chapters(self, source: str) -> Iterable[Chapter]:
        """All of the corpus.

        Args:
          source: its folder, or its address in a bucket.

        Raises:
          UserError: if what says so is missing or malformed.
        """

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.ABOUT,
            features=reading.features(bool(self.builder_config.codec)),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
        )

    def download_and_prepare(
        self, *, download_config: tfds.download.DownloadConfig | None = None
    ) -> None:
        """Write what is not written yet, as `write` does, in place of TFDS's own way, which would
        begin anew after a kill.

        Args:
          download_config: `manual_dir` is the corpus' folder, `beam_options` are Beam's.

        Raises:
          UserError: if there is no `manual_dir`, and as `write`.
        """
        self._download_and_prepare(None, download_config or tfds.download.DownloadConfig())

    def _download_and_prepare(
        self, dl_manager: Any, download_config: tfds.download.DownloadConfig
    ) -> None:
        del dl_manager  # chapters that must be fetched are fetched by the workers
        source = download_config.manual_dir
        if source is None:
            raise UserError(f"{self.name}: give download_config.manual_dir, the corpus' folder")
        self.write(str(source), options=download_config.beam_options)

    def write(
        self,
        source: str,
        output: str | None = None,
        options: PipelineOptions | None = None,
        hours_per_shard: float = 4.0,
        workers: int | None = None,
    ) -> dict[str, pipeline.Written]:
        """Write what is not written yet.

        Args:
          source: the corpus' folder, or its address in a bucket.
          output: TFDS's data_dir, or its address; None: the one of this builder.
          options: of Beam; None: processes of this machine work.
          hours_per_shard: of audio; also what a kill loses of each worker's work, at most.
          workers: how many processes of this machine; None: one for each core.

        Returns:
          What there is of each split.

        Raises:
          UserError: on a corpus that is not there, or a folder that cannot be written or holds
            another corpus.
        """
        config = self.builder_config
        folder = storage.joined(output or str(self.data_dir_root), self.info.full_name)
        job = pipeline.Job(source, folder, self.name, config.settings, config.codec)
        storage.check(source)
        storage.check(folder)
        chosen, reasons = choose(self.chapters(source), config.settings)
        if not chosen:
            raise UserError(f"{source}: no utterance is left{counted(reasons)}")
        print(f"{_duration(_seconds(chosen))}{counted(reasons)}", flush=True)
        splits = into_shards(chosen, 3600 * hours_per_shard)
        every = pipeline.write_shards(job, splits, options or pipeline.local_options(workers))
        result = {split: pipeline.written(job, some) for split, some in every.items()}
        self._describe(job, result)
        for split, part in result.items():
            print(
                f"{split}: {sum(part.lengths)} utterances, {_duration(part.seconds)}, "
                f"{part.num_bytes / 1e6:.1f} MB{counted(part.left_out)}",
                flush=True,
            )
        return result

    def _describe(self, job: pipeline.Job, result: dict[str, pipeline.Written]) -> None:
        """Write TFDS's description, which makes the shards a dataset."""
        if not storage.is_remote(job.folder):
            shards.remove_partial(Path(job.folder))
        with tempfile.TemporaryDirectory() as folder:
            splits = [
                shards.split_info(folder, self.name, split, part.lengths, part.num_bytes)
                for split, part in result.items()
            ]
            self.info.set_splits(tfds.core.splits.SplitDict(splits))
            self.info.write_to_directory(folder)
            # the description last: with it the dataset is there
            for file in sorted(Path(folder).iterdir(), key=lambda f: f.name == "dataset_info.json"):
                storage.write_text(job.path(file.name), file.read_text(encoding="utf-8"))
        self.info.update_data_dir(str(self.data_path))


def _seconds(chapters: Iterable[Chapter]) -> float:
    return sum(u.seconds for chapter in chapters for u in chapter.utterances)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
