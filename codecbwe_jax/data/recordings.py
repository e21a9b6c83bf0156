"""Which recordings there are, and which of them a run uses."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codecbwe_jax.audio import files
from codecbwe_jax.config import write_json
from codecbwe_jax.data import corpus_folder
from codecbwe_jax.data.bandwidth import measure
from codecbwe_jax.errors import UserError

HELD_OUT = re.compile(r"dev|test|valid|eval")


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
        hours = sum(r.seconds for r in self.recordings) / 3600
        speakers = len({r.speaker for r in self.recordings})
        text = f"{len(self.recordings)} recordings, {60 * hours:.1f} minutes, {speakers} speakers"
        return text + counted(collections.Counter(why for _, why in self.left_out))


def counted(reasons: collections.Counter[str]) -> str:
    """ "; left out 3 (clipped), 1 (...)", reasons that differ in numbers together; "" for none."""
    kinds: collections.Counter[str] = collections.Counter()
    for why, n in reasons.items():
        kinds[re.sub(r"\d[\d.]*", "#", why)] += n
    listed = ", ".join(f"{n} ({why})" for why, n in kinds.most_common())
    return f"; left out {listed}" if listed else ""


def find(path: str | Path) -> Selection:
    """List the recordings of a folder, a file list or a manifest. Only headers are read.

    Args:
      path: a folder that `codecbwe corpus` wrote; another folder (its `manifest.jsonl` is used if
        there is one; else every audio file below it, the speaker being the name of the sub-folder
        or, directly in the folder, the file name up to the first "_" or "-"); a `.txt` with one
        path a line; a `.json` or `.jsonl` with one JSON object a line in the manner of HiFi-TTS2
        (`audio_filepath`, `speaker`, `set`, `duration`, `offset`, `bandwidth`, `wer`, `cer`,
        `speaker_count`).

    Raises:
      UserError: if the path does not exist, names no audio, or a manifest line is malformed.
    """
    if "://" in str(path):
        raise UserError(f"{path}: mount the bucket and give its folder")
    path = Path(path)
    if path.is_dir() and corpus_folder.is_corpus(path):
        return _corpus(path)
    if path.is_dir():
        manifest = path / "manifest.jsonl"
        rows = _manifest(manifest) if manifest.is_file() else _folder(path)
    elif not path.is_file():
        raise UserError(f"{path}: no such file or folder; data.path names recordings to train on")
    elif path.suffix == ".txt":
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [({}, path.parent / line.strip()) for line in lines if line.strip()]
    elif path.suffix in (".json", ".jsonl"):
        rows = _manifest(path)
    else:
        raise UserError(f"{path}: give a folder, a .txt list or a .json/.jsonl manifest")
    selection = _open(rows, path)
    if not selection.recordings and not selection.left_out:
        raise UserError(f"{path}: no audio files in it ({', '.join(files.SUFFIXES)})")
    return selection


def _folder(folder: Path) -> list[tuple[dict[str, Any], Path]]:
    return [({}, path) for path in files.find(folder)]


def _manifest(path: Path) -> list[tuple[dict[str, Any], Path]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append((row, path.parent / row["audio_filepath"]))
        except (json.JSONDecodeError, KeyError, TypeError):
            raise UserError(
                f"{path}:{number}: expected a JSON object with audio_filepath, got {line[:60]!r}"
            ) from None
    return rows


def _open(rows: Iterable[tuple[dict[str, Any], Path]], source: Path) -> Selection:
    root = source if source.is_dir() else source.parent
    recordings, broken = [], []
    for row, path in rows:
        try:
            total, rate, _ = files.info(path)
        except UserError as error:
            reason = str(error).removeprefix(f"{path}: ")
            broken.append((path, reason))
            continue
        start = int(row.get("offset", 0.0) * rate)
        length = int(row["duration"] * rate) if "offset" in row else total
        recordings.append(
            Recording(
                path=path,
                speaker=str(row.get("speaker") or _speaker(path, root)),
                start=start,
                samples=min(length, total - start),
                rate=rate,
                bandwidth_hz=row.get("bandwidth"),
                subset=str(row.get("set") or ""),
                facts=facts_of(row),
                text=text_of(row),
            )
        )
    return Selection(recordings, broken)


def _corpus(folder: Path) -> Selection:
    recordings, left_out = [], []
    for split, record, row in corpus_folder.index_rows(folder):
        if record is None:
            left_out.append((folder / row["title"], row["left_out"]))
            continue
        recordings.append(
            Recording(
                path=folder,
                speaker=row["speaker"],
                start=0,
                samples=row["samples"],
                rate=row["rate"],
                bandwidth_hz=row.get("bandwidth"),
                subset=split,
                facts=facts_of(row),
                record=record,
                title=row["title"],
            )
        )
    return Selection(recordings, left_out)


def facts_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Of a manifest's row what filters ask for: "wer", "cer", "speaker_count", where known."""
    return {k: row[k] for k in ("wer", "cer", "speaker_count") if row.get(k) is not None}


def text_of(row: Mapping[str, Any]) -> str:
    """What is said, of a manifest's row; "" if it does not tell."""
    return str(row.get("normalized_text") or row.get("text") or "")


def _speaker(path: Path, root: Path) -> str:
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return relative.parts[-2] if len(relative.parts) > 1 else re.split(r"[_-]", path.stem)[0]


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
        if r.subset and r.subset != "train" and not HELD_OUT.search(r.subset):
            return f"set {r.subset}"
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


def split(recordings: Sequence[Recording], share: float) -> tuple[list[Recording], list[Recording]]:
    """Divide into training and validation, by the source's own sets where it has them, else by
    speaker, or by clip where there is one speaker.

    Args:
      recordings: to divide.
      share: of validation where the source does not say, at least one speaker or clip.

    Returns:
      (training, validation). The choice depends on names only, not on their order.
    """
    if any(HELD_OUT.search(r.subset) for r in recordings):
        held = [r for r in recordings if HELD_OUT.search(r.subset)]
        return [r for r in recordings if not HELD_OUT.search(r.subset)], held
    by_speaker = len({r.speaker for r in recordings}) > 1

    def unit(r: Recording) -> str:
        return r.speaker if by_speaker else f"{r.name}:{r.start}"

    names = sorted(
        {unit(r) for r in recordings}, key=lambda n: hashlib.sha256(n.encode()).hexdigest()
    )
    held_names = set(names[: max(1, round(share * len(names)))]) if len(names) > 1 else set()
    train = [r for r in recordings if unit(r) not in held_names]
    return train, [r for r in recordings if unit(r) in held_names]
