"""What a corpus consists of, and which part of it goes into which shard.

A chapter is an audio file, an utterance a stretch of it, or a file of its own that was cut from it
before. The plan depends on the corpus and the settings alone, so that a killed job finds its place.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from codecbwe_jax.data.recordings import unfit


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is taken of a corpus, and how it is stored. What a corpus does not say of an utterance
    is unknown and does not leave it out.

    Attributes:
      rate: of the stored audio in Hz.
      min_bandwidth_hz: least real bandwidth; measured where the corpus does not say it.
      max_wer, max_cer: largest word and character error rates, fractions.
      max_speakers: most speakers detected in an utterance.
      min_seconds, max_seconds: duration.
      max_hours_per_speaker: of what is left, the utterances of the lowest hash.
      max_clipped: samples at full scale.
      min_peak: least peak of the waveform, in [0, 1].
      max_digital_silence: largest share of samples that are zero.
    """

    rate: int = 48000
    min_bandwidth_hz: float = 0.0
    max_wer: float = 0.1
    max_cer: float = 0.03
    max_speakers: int = 1
    min_seconds: float = 1.0
    max_seconds: float = 20.0
    max_hours_per_speaker: float = float("inf")
    max_clipped: int = 3
    min_peak: float = 0.01
    max_digital_silence: float = 0.3


@dataclasses.dataclass(frozen=True)
class Utterance:
    """A stretch of a chapter.

    Attributes:
      title: what the corpus calls it, unique in it.
      speaker: who speaks.
      split: "train", or a held-out set.
      seconds: duration.
      offset: seconds from the chapter's start; None: the chapter is this utterance.
      file: of it alone, below the corpus' folder; used if it is there.
      bandwidth_hz: what it really holds, where the corpus says it.
      facts: "wer", "cer", "speaker_count" where the corpus says them.
      text: what is said.
    """

    title: str
    speaker: str
    split: str
    seconds: float
    offset: float | None = None
    file: str = ""
    bandwidth_hz: int | None = None
    facts: dict[str, float] = dataclasses.field(default_factory=dict)
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Chapter:
    """An audio file.

    Attributes:
      places: below the corpus' folder, or addresses, to be tried in order.
      seconds: duration; a file of another is refused. None: unknown.
      utterances: those in it that are to be stored.
    """

    places: tuple[str, ...]
    seconds: float | None
    utterances: tuple[Utterance, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Chapter:
        utterances = tuple(Utterance(**u) for u in row["utterances"])
        return cls(tuple(row["places"]), row["seconds"], utterances)


def choose(
    chapters: Iterable[Chapter], settings: Settings
) -> tuple[list[Chapter], collections.Counter[str]]:
    """Leave out what can be judged before the audio is read.

    Returns:
      (chapters with what is left in them, how many utterances were left out for which reason).
    """
    reasons: collections.Counter[str] = collections.Counter()
    left = []
    for chapter in chapters:
        kept = []
        for utterance in chapter.utterances:
            reason = _reason_against(utterance, settings)
            if reason:
                reasons[reason] += 1
            else:
                kept.append(utterance)
        if kept:
            left.append(dataclasses.replace(chapter, utterances=tuple(kept)))
    if settings.max_hours_per_speaker == float("inf"):
        return left, reasons
    return _capped(left, settings.max_hours_per_speaker, reasons), reasons


def _reason_against(utterance: Utterance, s: Settings) -> str | None:
    known = utterance.bandwidth_hz
    if known is not None and known < s.min_bandwidth_hz:
        return f"bandwidth below {s.min_bandwidth_hz:.0f} Hz"
    return unfit(
        utterance.seconds,
        utterance.facts,
        s.min_seconds,
        s.max_seconds,
        s.max_wer,
        s.max_cer,
        s.max_speakers,
    )


def _capped(
    chapters: Sequence[Chapter], hours: float, reasons: collections.Counter[str]
) -> list[Chapter]:
    everyone: dict[str, list[Utterance]] = {}
    for chapter in chapters:
        for utterance in chapter.utterances:
            everyone.setdefault(utterance.speaker, []).append(utterance)
    kept = set()
    for utterances in everyone.values():
        seconds = 0.0
        for utterance in sorted(utterances, key=lambda u: _hash(u.title)):
            seconds += utterance.seconds
            if seconds <= 3600 * hours:
                kept.add(utterance.title)
            else:
                reasons[f"speaker has more than {hours:g} hours"] += 1
    return list(_only(chapters, lambda u: u.title in kept))


def _only(chapters: Iterable[Chapter], wanted: Callable[[Utterance], bool]) -> Iterator[Chapter]:
    for chapter in chapters:
        utterances = tuple(u for u in chapter.utterances if wanted(u))
        if utterances:
            yield dataclasses.replace(chapter, utterances=utterances)


def into_shards(
    chapters: Sequence[Chapter], seconds_per_shard: float
) -> dict[str, list[list[Chapter]]]:
    """Divide chapters over the shards of every split.

    Chapters come in the order of their names' hashes, so that a shard, and any share of the
    shards, is a sample of the whole corpus.
    """
    ordered = sorted(chapters, key=lambda c: _hash(c.utterances[0].title))
    splits: dict[str, list[list[Chapter]]] = {}
    for split in sorted({u.split for c in chapters for u in c.utterances}):
        shards, filled = [], float("inf")
        for chapter in _only(ordered, lambda u, split=split: u.split == split):
            if filled >= seconds_per_shard:
                shards.append([])
                filled = 0.0
            shards[-1].append(chapter)
            filled += sum(u.seconds for u in chapter.utterances)
        splits[split] = shards
    return splits


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
