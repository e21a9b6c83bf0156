"""From a chapter's audio to the records that are stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import soxr

from codecbwe_jax.audio import files
from codecbwe_jax.corpora import storage
from codecbwe_jax.corpora.chapters import Chapter, Settings, Utterance
from codecbwe_jax.data.bandwidth import SECONDS, measure
from codecbwe_jax.errors import UserError

Tokens = Callable[[np.ndarray, int], np.ndarray]
# the largest difference between an audio file and what the corpus says of its length, as in
# NVIDIA/NeMo-speech-data-processor
LENGTH_TOLERANCE_S = 0.1


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an utterance.

    Attributes:
      utterance: which.
      record: what is stored; None if it was left out.
      row: of the index.
    """

    utterance: Utterance
    record: dict[str, Any] | None
    row: dict[str, Any]


def features(tokens: bool) -> Any:
    """What a record holds, as a `tfds.features.FeaturesDict`; "bandwidth" is in Hz, 0 if unknown,
    and "flac" a file's bytes."""
    import tensorflow_datasets as tfds

    of_a_codec = {"tokens": tfds.features.Tensor(shape=(None,), dtype=np.int32)} if tokens else {}
    return tfds.features.FeaturesDict(
        {
            "flac": tfds.features.Tensor(shape=(), dtype=np.object_),
            "title": tfds.features.Text(),
            "speaker": tfds.features.Text(),
            "text": tfds.features.Text(),
            "bandwidth": tfds.features.Scalar(dtype=np.int32),
            **of_a_codec,
        }
    )


def outcomes(
    chapter: Chapter, source: str, settings: Settings, tokens: Tokens | None = None
) -> Iterator[Outcome]:
    """Read the utterances of a chapter.

    Args:
      chapter: where its audio is looked for: each utterance's own file, then the chapter's places.
      source: the corpus' folder or address.
      settings: of the corpus.
      tokens: of a codec, for a waveform `[samples]` and its rate; None: none are stored.

    Yields:
      An outcome for every utterance; what cannot be read is left out with the reason.
    """
    rest = []
    for utterance in chapter.utterances:
        place = storage.joined(source, utterance.file)
        if utterance.file and storage.exists(place):
            whole = dataclasses.replace(utterance, offset=None)
            yield from _in_file(place, None, [whole], source, settings, tokens)
        else:
            rest.append(utterance)
    if not rest:
        return
    place = _place(chapter, source)
    if place:
        yield from _in_file(place, chapter.seconds, rest, source, settings, tokens)
    else:
        missing = " or ".join(chapter.places) or "its own, and no chapter"
        for utterance in rest:
            yield _left_out(utterance, f"no such file: {missing}")


def _place(chapter: Chapter, source: str) -> str | None:
    """Where the chapter's audio is: a file, else an address of the web."""
    places = [storage.joined(source, place) for place in chapter.places]
    web = [place for place in places if place.startswith(storage.WEB)]
    here = (place for place in places if place not in web and storage.exists(place))
    return next(here, web[0] if web else None)


def _in_file(
    place: str,
    seconds: float | None,
    utterances: Sequence[Utterance],
    source: str,
    settings: Settings,
    tokens: Tokens | None,
) -> Iterator[Outcome]:
    """Outcomes of utterances of one file, which must have so many seconds."""
    try:
        with storage.local(place) as path, files.Reader(path) as reader:
            _check_length(reader, seconds)
            for utterance in _with_bandwidth(reader, utterances, settings):
                yield _outcome(reader, utterance, settings, tokens)
    except UserError as error:  # of the file: an outcome holds its own, so none has come yet
        reason = str(error).removeprefix(f"{source.rstrip('/')}/")
        for utterance in utterances:
            yield _left_out(utterance, reason)


def _check_length(reader: files.Reader, expected: float | None) -> None:
    seconds = reader.samples / reader.rate
    if expected is not None and abs(seconds - expected) > LENGTH_TOLERANCE_S:
        raise UserError(f"{reader.path.name} is {seconds:.2f} s long, not {expected:.2f} s")


def _with_bandwidth(
    reader: files.Reader, utterances: Sequence[Utterance], settings: Settings
) -> list[Utterance]:
    """What the corpus does not say is measured, on all of the file: a single utterance's bandwidth
    says which sounds are in it."""
    if not settings.min_bandwidth_hz or all(u.bandwidth_hz is not None for u in utterances):
        return list(utterances)
    x = reader.read(0, int(SECONDS * reader.rate))
    hz = measure(x.mean(axis=1), reader.rate).moving_hz
    return [
        dataclasses.replace(u, bandwidth_hz=hz if u.bandwidth_hz is None else u.bandwidth_hz)
        for u in utterances
    ]


def _outcome(
    reader: files.Reader, utterance: Utterance, settings: Settings, tokens: Tokens | None
) -> Outcome:
    try:
        x = _chosen(_stretch(reader, utterance), reader.rate, utterance.bandwidth_hz, settings)
        record = _record(x, utterance, settings.rate, tokens)
    except UserError as error:
        return _left_out(utterance, str(error).removeprefix(f"{reader.path.parent}/"))
    row = {
        "title": utterance.title,
        "speaker": utterance.speaker,
        "rate": settings.rate,
        "samples": len(x),
        "bandwidth": utterance.bandwidth_hz,
        **utterance.facts,
    }
    return Outcome(utterance, record, row)


def _record(
    x: np.ndarray, utterance: Utterance, rate: int, tokens: Tokens | None
) -> dict[str, Any]:
    record = {
        "flac": files.encode(x, rate, utterance.title),
        "title": utterance.title,
        "speaker": utterance.speaker,
        "text": utterance.text,
        "bandwidth": utterance.bandwidth_hz or 0,
    }
    if tokens:  # of what is stored, rounded as it is
        stored, _ = files.decode(record["flac"], utterance.title)
        record["tokens"] = tokens(stored[:, 0], rate)
    return record


def _stretch(reader: files.Reader, utterance: Utterance) -> np.ndarray:
    """The utterance float32 `[samples]`, channels averaged."""
    start, frames = 0, reader.samples
    if utterance.offset is not None:
        start = _samples(utterance.offset, reader.rate)
        frames = _samples(utterance.offset + utterance.seconds, reader.rate) - start
    # beyond the end there is nothing to seek
    x = reader.read(start, frames) if start < reader.samples else np.zeros((0, 1), np.float32)
    if frames - len(x) > LENGTH_TOLERANCE_S * reader.rate or not len(x):
        raise UserError(
            f"{reader.path}: ends before the utterance at {utterance.offset or 0:.2f} s does"
        )
    return x.mean(axis=1)


def _samples(seconds: float, rate: int) -> int:
    """Whole samples in so many seconds, and no sample lost to the seconds' own rounding."""
    return int(seconds * rate + 1e-4)


def _chosen(x: np.ndarray, rate: int, bandwidth: int | None, s: Settings) -> np.ndarray:
    """A waveform at the corpus' rate.

    Raises:
      UserError: with the reason, if it is not wanted.
    """
    level = np.abs(x)
    # what 16 bits call full scale
    if int(np.sum(level >= 1 - 2**-15)) > s.max_clipped:
        raise UserError("clipped")
    if level.max() < s.min_peak:
        raise UserError(f"peak below {s.min_peak:g}")
    if np.mean(x == 0) > s.max_digital_silence:
        raise UserError(f"more than {s.max_digital_silence:.0%} digital silence")
    if rate < min(s.rate, 2 * s.min_bandwidth_hz):
        raise UserError(f"sample rate {rate} Hz is too low")
    if bandwidth is not None and bandwidth < s.min_bandwidth_hz:
        raise UserError(f"bandwidth below {s.min_bandwidth_hz:.0f} Hz")
    return x if rate == s.rate else soxr.resample(x, rate, s.rate)


def _left_out(utterance: Utterance, reason: str) -> Outcome:
    row = {"title": utterance.title, "speaker": utterance.speaker, "left_out": reason}
    return Outcome(utterance, None, row)
