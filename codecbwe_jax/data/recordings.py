"""Which recordings there are, and which of them are fit for a run."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from codecbwe_jax import json_lines
from codecbwe_jax.audio import files
from codecbwe_jax.config import write_json
from codecbwe_jax.data import corpus_folder, speakers
from codecbwe_jax.data.bandwidth import measure
from codecbwe_jax.errors import UserError
from codecbwe_jax.json_lines import Row

MANIFEST = "manifest.jsonl"
# s; what a manifest rounds a duration by does not cut a file's last samples off
ROUNDING_S = 0.01
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclasses.dataclass(frozen=True)
class Recording:
    """A stretch of an audio file, or of a record of a corpus.

    Attributes:
      path: of the file, or of the corpus' folder.
      speaker: who speaks; split and balance go by it.
      start: first sample at the file's own rate.
      samples: number of samples at that rate.
      rate: in Hz.
      bandwidth_hz: what the recording really holds; None if not measured.
      subset: "train", a held-out set, or "" where the source does not say.
      facts: numbers that filters may ask for ("wer", "cer", "speaker_count").
      record: place in the corpus' split, which is then `subset`; None for a file.
      title: what the corpus calls it.
      text: what is said, where the source tells.
      speaker_known: the speaker is told, or in a known form of names; else guessed.
    """

    path: Path
    speaker: str
    start: int
    samples: int
    rate: int
    bandwidth_hz: int | None = None
    subset: str = ""
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    record: int | None = None
    title: str = ""
    text: str = ""
    speaker_known: bool = True

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    @property
    def name(self) -> str:
        """Of the file, or of the record."""
        return self.title or self.path.name

    @property
    def where(self) -> Path:
        """Of the file, or of the record in its corpus: for messages."""
        return self.path if self.record is None else self.path / self.title

    def read(self, start: int = 0, frames: int = -1) -> tuple[np.ndarray, int]:
        """Samples float32 `[samples, channels]` from `start` on, and the rate in Hz.

        Raises:
          UserError: if they cannot be decoded.
        """
        start += self.start
        if self.record is None:
            return files.read(self.path, start, frames)
        return corpus_folder.read(self.path, self.subset, self.record, start, frames)


@dataclasses.dataclass
class Selection:
    """Recordings to use, and those left out with the reason.

    Attributes:
      recordings: to use.
      left_out: (path, reason in one line).
    """

    recordings: list[Recording]
    left_out: list[tuple[Path, str]]

    def keep(self, judge: Callable[[Recording], str | None]) -> Selection:
        """Leave out every recording for which `judge` gives a reason."""
        kept, out = [], list(self.left_out)
        for recording in self.recordings:
            reason = judge(recording)
            if reason:
                out.append((recording.where, reason))
            else:
                kept.append(recording)
        return Selection(kept, out)

    def summary(self) -> str:
        """One line: what is used, and how many were left out for what."""
        return amount(self.recordings) + counted(collections.Counter(w for _, w in self.left_out))


def amount(recordings: Sequence[Recording]) -> str:
    """ "9 recordings, 1.5 minutes, 3 speakers"."""
    minutes = sum(r.seconds for r in recordings) / 60
    speakers = len({r.speaker for r in recordings})
    return f"{len(recordings)} recordings, {minutes:.1f} minutes, {speakers} speakers"


def counted(reasons: collections.Counter[str]) -> str:
    """ "; left out 3 (clipped), 2 (1.2 to 1.5 s long)": reasons that differ in numbers alone stand
    together; "" for none."""
    kinds: dict[str, list[str]] = {}
    totals: collections.Counter[str] = collections.Counter()
    for why, n in reasons.items():
        kind = NUMBER.sub("#", why)
        kinds.setdefault(kind, []).append(why)
        totals[kind] += n
    listed = ", ".join(f"{n} ({_together(kinds[kind])})" for kind, n in totals.most_common())
    return f"; left out {listed}" if listed else ""


def _together(reasons: Sequence[str]) -> str:
    """A reason for all, with the span of every number that differs."""
    spans = map(_span, zip(*map(NUMBER.findall, reasons), strict=True))
    return NUMBER.sub(lambda _: next(spans), reasons[0])


def _span(numbers: Sequence[str]) -> str:
    least, most = min(numbers, key=float), max(numbers, key=float)
    return least if least == most else f"{least} to {most}"


def find(path: str | Path, speaker_pattern: str = "") -> Selection:
    """List the recordings of a folder, a file list or a manifest. Only headers are read.

    Args:
      path: a folder that `codecbwe corpus` wrote; another folder (a `manifest.jsonl` in it, or one
        in the folder above that lists files of it; else every audio file below it); a `.txt` with
        one path a line; a `.json` or `.jsonl` with one JSON object a line in the manner of
        HiFi-TTS2 (`audio_filepath`, `speaker`, `set`, `duration`, `offset`, `bandwidth`, `wer`,
        `cer`, `speaker_count`).
      speaker_pattern: who speaks where a manifest does not say it, see `speakers.speaker`.

    Raises:
      UserError: if the path does not exist, names no audio, or a line is malformed.
    """
    if "://" in str(path):
        raise UserError(f"{path}: mount the bucket and give its folder")
    path = Path(path)
    if path.is_dir() and corpus_folder.is_corpus(path):
        return _corpus(path)
    left_out: list[tuple[Path, str]] = []
    if path.is_dir():
        stretches, left_out = _folder(path)
    elif not path.is_file():
        raise UserError(f"{path}: no such file or folder; data.path names recordings to train on")
    elif path.suffix == ".txt":
        listed = json_lines.lines(path)
        stretches = (
            _Stretch(json_lines.path_of(line, path.parent, f"{path}:{n}")) for n, line in listed
        )
    elif path.suffix in (".json", ".jsonl"):
        stretches = map(_stretch, json_lines.rows(path))
    else:
        raise UserError(f"{path}: give a folder, a .txt list or a .json/.jsonl manifest")
    root = path if path.is_dir() else path.parent
    selection = _open(stretches, root, speakers.pattern(speaker_pattern))
    selection.left_out.extend(left_out)
    if not selection.recordings and not selection.left_out:
        raise UserError(f"{path}: no audio files in it ({', '.join(files.SUFFIXES)})")
    return selection


@dataclasses.dataclass(frozen=True)
class _Stretch:
    """What a source says of a recording, before its file is opened; times in seconds."""

    path: Path
    offset: float = 0.0
    duration: float | None = None
    speaker: str = ""
    subset: str = ""
    bandwidth_hz: int | None = None
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    text: str = ""


def _stretch(row: Row) -> _Stretch:
    """Of a manifest's row; its path is relative to the manifest's folder, or absolute."""
    return _Stretch(
        path=row.path("audio_filepath"),
        offset=row.number("offset", "seconds") or 0.0,
        duration=row.number("duration", "seconds"),
        speaker=row.text("speaker"),
        subset=row.text("set"),
        bandwidth_hz=bandwidth_of(row),
        facts=facts_of(row),
        text=text_of(row),
    )


def _folder(folder: Path) -> tuple[Iterable[_Stretch], list[tuple[Path, str]]]:
    """(what to open, files that its manifest does not list)."""
    audio = files.find(folder)
    own = folder / MANIFEST
    above = folder.resolve().parent / MANIFEST
    listed: list[_Stretch] = []
    if own.is_file():
        listed = list(map(_stretch, json_lines.rows(own)))
    elif above.is_file():
        here = _location(folder / "any").parent
        of_all = map(_stretch, json_lines.rows(above))
        listed = [s for s in of_all if _location(s.path).is_relative_to(here)]
    if not listed:
        return map(_Stretch, audio), []
    known = {_location(s.path) for s in listed}
    return listed, [(p, f"not in {MANIFEST}") for p in audio if _location(p) not in known]


def _location(path: Path) -> Path:
    """Where a file stands, without links on the way to it; it may be one itself."""
    return _resolved(path.parent) / path.name


@functools.lru_cache(maxsize=65536)
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _open(stretches: Iterable[_Stretch], root: Path, named: re.Pattern[str] | None) -> Selection:
    recordings, left_out = [], []
    seen: set[tuple[Path, int, int]] = set()
    for said in stretches:
        try:
            total, rate, _ = files.info(said.path)
        except UserError as error:
            left_out.append((said.path, str(error).removeprefix(f"{said.path}: ")))
            continue
        start, samples = _place(said, total, rate)
        stretch = (said.path, start, samples)
        if samples <= 0:
            left_out.append((said.path, "its offset or duration is not in the file"))
        elif stretch in seen:
            left_out.append((said.path, "listed twice"))
        else:
            seen.add(stretch)
            recordings.append(_recording(said, start, samples, rate, root, named))
    return Selection(recordings, left_out)


def _place(said: _Stretch, total: int, rate: int) -> tuple[int, int]:
    """(first sample, samples), of a file of so many; no samples if it is not in the file."""
    if said.offset < 0 or said.offset * rate >= total:
        return 0, 0
    start = int(said.offset * rate)
    left = total - start
    if said.duration is None or said.duration > left / rate - ROUNDING_S:
        return start, left if said.duration is None or said.duration > 0 else 0
    return start, int(said.duration * rate)


def _recording(
    said: _Stretch, start: int, samples: int, rate: int, root: Path, named: re.Pattern[str] | None
) -> Recording:
    who = speakers.Speaker(said.speaker, known=True)
    if not who.name:
        inside = said.path.is_relative_to(root)
        who = speakers.speaker(said.path.relative_to(root) if inside else said.path, named)
    return Recording(
        path=said.path,
        speaker=who.name,
        start=start,
        samples=samples,
        rate=rate,
        bandwidth_hz=said.bandwidth_hz,
        subset=said.subset,
        facts=said.facts,
        text=said.text,
        speaker_known=who.known,
    )


def _corpus(folder: Path) -> Selection:
    recordings, left_out = [], []
    for split, record, row in corpus_folder.index_rows(folder):
        title = row.text("title")
        if record is None:
            left_out.append((folder / title, row.text("left_out")))
            continue
        recordings.append(
            Recording(
                path=folder,
                speaker=row.text("speaker"),
                start=0,
                samples=int(row.needed("samples")),
                rate=int(row.needed("rate")),
                bandwidth_hz=bandwidth_of(row),
                subset=split,
                facts=facts_of(row),
                record=record,
                title=title,
            )
        )
    return Selection(recordings, left_out)


def facts_of(row: Row) -> dict[str, float]:
    """Of a manifest's row what filters ask for: "wer", "cer", "speaker_count", where known."""
    values = {name: row.number(name) for name in ("wer", "cer", "speaker_count")}
    return {name: value for name, value in values.items() if value is not None}


def bandwidth_of(row: Row) -> int | None:
    """In Hz, of a manifest's row; None if it does not tell."""
    hz = row.number("bandwidth", "Hz")
    return None if hz is None else int(hz)


def text_of(row: Row) -> str:
    """What is said, of a manifest's row; "" if it does not tell."""
    return row.text("normalized_text") or row.text("text")


def select(
    selection: Selection,
    min_seconds: float = 0.0,
    max_seconds: float = float("inf"),
    max_wer: float | None = None,
    max_cer: float | None = None,
    speakers: Sequence[str] = (),
) -> Selection:
    """Apply filters. A fact that a recording lacks is unknown and does not leave it out.

    Args:
      selection: what to filter.
      min_seconds, max_seconds: duration.
      max_wer, max_cer: word and character error rates as fractions.
      speakers: names to keep, all if empty.
    """

    def judge(r: Recording) -> str | None:
        reason = unfit(r.seconds, r.facts, min_seconds, max_seconds, max_wer, max_cer)
        if reason:
            return reason
        if speakers and r.speaker not in speakers:
            return "another speaker"
        return None

    return selection.keep(judge)


def unfit(
    seconds: float,
    facts: Mapping[str, float],
    min_seconds: float,
    max_seconds: float,
    max_wer: float | None,
    max_cer: float | None,
    max_speakers: int = 1,
) -> str | None:
    """Why a recording of these facts is not wanted; None if it is. See `select`."""
    if not min_seconds <= seconds <= max_seconds:
        return f"{seconds:.2f} s long"
    if max_wer is not None and facts.get("wer", 0.0) > max_wer:
        return f"word error rate over {max_wer}"
    if max_cer is not None and facts.get("cer", 0.0) > max_cer:
        return f"character error rate over {max_cer}"
    if facts.get("speaker_count", 1) > max_speakers:
        return "several speakers"
    return None


def measured(selection: Selection, cache: Path | None = None) -> Selection:
    """Measure the bandwidth of every recording.

    Args:
      selection: what to measure.
      cache: JSON file that remembers results by path, size and time of change.

    Raises:
      UserError: if the cache cannot be written.
    """
    known: dict[str, int] = json.loads(cache.read_text()) if cache and cache.is_file() else {}
    kept, out = [], list(selection.left_out)
    for r in selection.recordings:
        stat = r.path.stat()
        place = r.start if r.record is None else f"{r.title}:{r.start}"
        key = f"{r.path.resolve()}:{place}:{stat.st_size}:{stat.st_mtime_ns}"
        if key not in known:
            try:
                x, rate = r.read(0, min(r.samples, 30 * r.rate))
            except UserError as error:
                out.append((r.where, str(error).removeprefix(f"{r.path}: ")))
                continue
            known[key] = measure(x.mean(axis=1), rate).moving_hz
        kept.append(dataclasses.replace(r, bandwidth_hz=known[key]))
    if cache:
        write_json(cache, known)
    return Selection(kept, out)


def wide_enough(selection: Selection, rate: int, min_bandwidth_hz: float) -> Selection:
    """Leave out recordings that do not hold the band to be learnt.

    Args:
      selection: recordings with a known bandwidth.
      rate: of the target in Hz; files of a lower rate are left out whatever they hold.
      min_bandwidth_hz: least real bandwidth.
    """

    def judge(r: Recording) -> str | None:
        if r.rate < min(rate, 2 * min_bandwidth_hz):
            return f"sample rate {r.rate} Hz is too low"
        if r.bandwidth_hz is not None and r.bandwidth_hz < min_bandwidth_hz:
            return f"real bandwidth {r.bandwidth_hz} Hz is below {min_bandwidth_hz:.0f} Hz"
        return None

    return selection.keep(judge)
