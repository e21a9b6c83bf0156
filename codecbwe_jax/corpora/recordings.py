"""Any recordings that `config.data.path` takes: a folder, a file list, a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from codecbwe_jax.corpora.builder import CorpusBuilder, CorpusConfig
from codecbwe_jax.corpora.chapters import Chapter, Settings, Utterance
from codecbwe_jax.data import recordings
from codecbwe_jax.data.recordings import Recording


def configs(least_bandwidth: float) -> tuple[CorpusConfig, ...]:
    """One for each rate; the least bandwidth is this part of half the rate."""
    return tuple(
        CorpusConfig(
            name=f"{rate // 1000}k",
            settings=Settings(rate, least_bandwidth * rate / 2, min_seconds=0.1, max_seconds=3600),
            description=f"{rate / 1000:g} kHz",
        )
        for rate in (16000, 24000, 32000, 44100, 48000)
    )


class Recordings(CorpusBuilder):
    """A folder, file list or manifest as `codecbwe_jax.data.recordings.find` reads it; the
    bandwidth is measured where a manifest does not say it."""

    ABOUT = "Recordings of a folder, a file list or a manifest."
    # a quarter of the rate is the least with which training uses a recording
    BUILDER_CONFIGS = configs(least_bandwidth=0.5)
    DEFAULT_CONFIG_NAME = "48k"

    def chapters(self, source: str) -> Iterable[Chapter]:
        return as_chapters(found(source), Path(source))


def found(source: str) -> list[Recording]:
    """Recordings of a source on this machine; what cannot be read is printed.

    Raises:
      UserError: as `find`.
    """
    selection = recordings.find(source)
    for path, reason in selection.left_out:
        print(f"left out {path}: {reason}", flush=True)
    return selection.recordings


def as_chapters(found: Iterable[Recording], source: Path) -> Iterable[Chapter]:
    """Recordings of one file together, as its chapter."""
    root = source if source.is_dir() else source.parent
    by_file: dict[Path, list[Recording]] = {}
    for recording in found:
        by_file.setdefault(recording.path, []).append(recording)
    for path, parts in by_file.items():
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        yield Chapter((str(path.resolve()),), None, tuple(_utterance(r, name) for r in parts))


def _utterance(recording: Recording, name: str) -> Utterance:
    r = recording
    return Utterance(
        title=f"{name}@{r.start / r.rate:g}" if r.start else name,
        speaker=r.speaker,
        split=r.subset or "train",
        seconds=r.seconds,
        offset=r.start / r.rate,
        bandwidth_hz=r.bandwidth_hz,
        facts=dict(r.facts),
        text=r.text,
    )
