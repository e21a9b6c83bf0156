"""HiFi-TTS2 from its manifests: audiobooks of LibriVox (Langman et al. 2025, arXiv 2506.04152)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from codecbwe_jax.corpora import storage
from codecbwe_jax.corpora.builder import CorpusBuilder, CorpusConfig
from codecbwe_jax.corpora.chapters import Chapter, Settings, Utterance
from codecbwe_jax.data.recordings import bandwidth_of, facts_of, text_of
from codecbwe_jax.errors import UserError
from codecbwe_jax.json_lines import Row


class HifiTts2(CorpusBuilder):
    """Chapters in MP3, cut by the corpus' offsets; or its utterances, cut before.

    The folder holds `manifest_44khz.json` and `chapters_44khz.json`, or a folder `44khz` with them,
    as they are published. An utterance's audio is looked for under its `audio_filepath`, then in
    its chapter: `chapter_filepath`, or `url`, which may be a path too; else the URL is fetched.
    """

    ABOUT = (
        "English audiobooks of LibriVox, utterances with the bandwidth of their chapters. "
        "Metadata CC BY 4.0, NVIDIA and the readers; recordings in the public domain in the USA."
    )
    HOMEPAGE = "https://huggingface.co/datasets/nvidia/hifitts-2"
    CITATION = (
        "Langman et al., HiFiTTS-2: A Large-Scale High Bandwidth Speech Dataset, Interspeech 2025"
    )
    # A chapter's MP3 seldom holds anything above 20 kHz: what a 48 kHz model can learn ends there.
    BUILDER_CONFIGS = (
        CorpusConfig(name="24k", settings=Settings(24000, 12000.0), description="24 kHz"),
        CorpusConfig(name="32k", settings=Settings(32000, 16000.0), description="32 kHz"),
        CorpusConfig(name="44k", settings=Settings(44100, 18000.0), description="44.1 kHz"),
        CorpusConfig(name="48k", settings=Settings(48000, 18000.0), description="48 kHz"),
    )
    DEFAULT_CONFIG_NAME = "32k"

    def chapters(self, source: str) -> Iterable[Chapter]:
        said = {}
        for row in _rows(source, "manifest_44khz.json"):
            row.require("audio_filepath", "duration")
            said[row.text("audio_filepath")] = _utterance(row)
        for row in _rows(source, "chapters_44khz.json"):
            places = tuple(filter(None, (row.text("chapter_filepath"), row.text("url"))))
            found = [
                _in_chapter(said.pop(part.text("audio_filepath")), part, row)
                for part in row.parts("utterances")
                if part.text("audio_filepath") in said
            ]
            if found:
                yield Chapter(places, row.number("duration", "seconds"), tuple(found))
        for utterance in said.values():  # of no chapter: there is its own file, or nothing
            yield Chapter((), None, (utterance,))


def _rows(source: str, name: str) -> Iterator[Row]:
    places = [storage.joined(source, name), storage.joined(source, f"44khz/{name}")]
    place = next((p for p in places if storage.exists(p)), None)
    if place is None:
        raise UserError(f"{places[0]}: no such file, and none in 44khz/; HiFi-TTS2 comes with it")
    yield from storage.json_rows(place)


def _utterance(row: Row) -> Utterance:
    name = row.text("audio_filepath")
    return Utterance(
        title=name,
        speaker=row.text("speaker") or name.split("/")[0],
        split=row.text("set") or "train",
        seconds=row.needed("duration", "seconds"),
        file=name,
        bandwidth_hz=bandwidth_of(row),
        facts=facts_of(row),
        text=text_of(row),
    )


def _in_chapter(utterance: Utterance, part: Row, chapter: Row) -> Utterance:
    bandwidth = utterance.bandwidth_hz
    if bandwidth is None:
        bandwidth = bandwidth_of(chapter)
    return dataclasses.replace(
        utterance,
        offset=part.needed("offset", "seconds"),
        seconds=part.needed("duration", "seconds"),
        bandwidth_hz=bandwidth,
    )
