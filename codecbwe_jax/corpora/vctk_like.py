"""Corpora laid out as CSTR VCTK: speakers' folders, perhaps two microphones, texts apart."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from codecbwe_jax.corpora.builder import CorpusBuilder
from codecbwe_jax.corpora.chapters import Chapter
from codecbwe_jax.corpora.recordings import as_chapters, configs, found
from codecbwe_jax.data.recordings import Recording

MICROPHONE = re.compile(r"_mic(\d)$")


class VctkLike(CorpusBuilder):
    """`wav48_silence_trimmed/p225/p225_001_mic1.flac` (VCTK 0.92) or `wav48/p225/p225_001.wav`
    (0.80), or speakers' folders themselves; texts in `txt/p225/p225_001.txt`. Of two microphones
    the first is taken."""

    ABOUT = "Studio recordings, a folder for each speaker, in the layout of CSTR VCTK."
    HOMEPAGE = "https://datashare.ed.ac.uk/handle/10283/3443"
    # such recordings hold their band, and a single utterance's bandwidth says more of its words
    BUILDER_CONFIGS = configs(least_bandwidth=0.0)
    DEFAULT_CONFIG_NAME = "48k"

    def chapters(self, source: str) -> Iterable[Chapter]:
        folders = [Path(source) / name for name in ("wav48_silence_trimmed", "wav48")]
        audio = next((folder for folder in folders if folder.is_dir()), Path(source))
        return as_chapters(_with_text(_first_microphone(found(str(audio))), Path(source)), audio)


def _first_microphone(recordings: Iterable[Recording]) -> Iterator[Recording]:
    for recording in recordings:
        microphone = MICROPHONE.search(recording.path.stem)
        if not microphone or microphone[1] == "1":
            yield recording


def _with_text(recordings: Iterable[Recording], source: Path) -> Iterator[Recording]:
    for r in recordings:
        text = source / "txt" / r.speaker / f"{MICROPHONE.sub('', r.path.stem)}.txt"
        said = text.read_text(encoding="utf-8").strip() if text.is_file() else r.text
        yield dataclasses.replace(r, text=said)
