"""Which recordings are for training and which for validation."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Mapping, Sequence

from codecbwe_jax.data.recordings import Recording, Selection, amount
from codecbwe_jax.errors import some

# Parts of all minutes: held out by speakers; by the one speaker who is least; by clips.
MOST_SPEAKERS, MOST_OF_ONE, MOST_CLIPS = 1 / 3, 1 / 2, 1 / 2
# A guess that gives fewer speakers than this, or a third of the minutes to one, is doubted.
FEWEST_SPEAKERS, DOUBTFUL_SHARE = 4, 1 / 3
NAMED = 10  # speakers that a line names


def trains(recording: Recording) -> bool:
    """Whether its set is for training: "train...", or none."""
    return not recording.subset or recording.subset.lower().startswith("train")


def validates(recording: Recording) -> bool:
    """Whether its set is for validation: "dev..." or "valid..."."""
    return recording.subset.lower().startswith(("dev", "valid"))


def only(selection: Selection, wanted: Callable[[Recording], bool]) -> Selection:
    """Leave out recordings of other sets, by the set's name."""
    return selection.keep(lambda r: None if wanted(r) else f"set {r.subset or 'train'}")


def divide(
    recordings: Sequence[Recording], share: float
) -> tuple[list[Recording], list[Recording]]:
    """Divide into training and validation: by the source's sets where one is for validation, else
    by speakers, or by clips where no speaker can be spared.

    Args:
      recordings: to divide, each for training or for validation.
      share: of validation where the source does not say, at least one speaker or clip.

    Returns:
      (training, validation). The choice depends on names and lengths only, not on the order.
    """
    if any(validates(r) for r in recordings):
        held = [r for r in recordings if validates(r)]
        return [r for r in recordings if not validates(r)], held
    names = _held_speakers(recordings, share)
    if names:
        train = [r for r in recordings if r.speaker not in names]
        return train, [r for r in recordings if r.speaker in names]
    return _by_clips(recordings, share)


def _held_speakers(recordings: Sequence[Recording], share: float) -> set[str]:
    """Speakers to hold out; none if each has more of the data than can be spared."""
    seconds = _seconds(recordings, lambda r: r.speaker)
    if len(seconds) < 2:
        return set()
    total = sum(seconds.values())
    # a third may be exactly one of three speakers, and floats do not add up to it
    most = max(share, MOST_SPEAKERS) * total * (1 + 1e-9)
    wanted, held, spent = max(1, round(share * len(seconds))), set(), 0.0
    for name in sorted(seconds, key=_hash):
        if len(held) < min(wanted, len(seconds) - 1) and spent + seconds[name] <= most:
            held.add(name)
            spent += seconds[name]
    if not held:
        least = min(seconds, key=lambda name: (seconds[name], _hash(name)))
        held = {least} if seconds[least] <= MOST_OF_ONE * total else set()
    return held


def _by_clips(
    recordings: Sequence[Recording], share: float
) -> tuple[list[Recording], list[Recording]]:
    """About this share of the clips, at least one, never more than half."""

    def clip(r: Recording) -> str:
        return f"{r.name}:{r.start}"

    names = sorted({clip(r) for r in recordings}, key=_hash)
    most = int(MOST_CLIPS * len(names))
    held = set(names[: min(max(1, round(share * len(names))), most)])
    train = [r for r in recordings if clip(r) not in held]
    return train, [r for r in recordings if clip(r) in held]


def described(train: Sequence[Recording], valid: Sequence[Recording]) -> str:
    """One line: clips, minutes and speakers on each side, and who is held out."""
    here, there = ({r.speaker for r in side} for side in (train, valid))
    text = f"training: {amount(train)}; validation: {amount(valid)}"
    if not valid:
        return text
    if here & there:
        return f"{text}, by clips" if here >= there else f"{text}, {_names(there - here)} alone"
    return f"{text}, held out: {_names(there)}"


def doubt(recordings: Sequence[Recording]) -> str | None:
    """One line if who speaks was guessed and looks wrong."""
    if all(r.speaker_known for r in recordings):
        return None
    seconds = _seconds(recordings, lambda r: r.speaker)
    name = max(seconds, key=lambda n: (seconds[n], n))
    part = seconds[name] / sum(seconds.values())
    if len(seconds) >= FEWEST_SPEAKERS and part < DOUBTFUL_SHARE:
        return None
    return (
        f"warning: speakers are guessed by folders and names: {len(seconds)}, of whom {name!r} has "
        f'{part:.0%} of the minutes; if that is wrong, name them: "speaker" in a manifest.jsonl, '
        "a folder for each, or --config.data.speaker_pattern=REGEX"
    )


def sets(recordings: Sequence[Recording]) -> str:
    """ "3 of set test, 1 of set train"."""
    counts = collections.Counter(r.subset or "train" for r in recordings)
    return ", ".join(f"{n} of set {name}" for name, n in sorted(counts.items()))


def _names(speakers: set[str]) -> str:
    return some(sorted(speakers), NAMED)


def _seconds(
    recordings: Sequence[Recording], unit: Callable[[Recording], str]
) -> Mapping[str, float]:
    seconds: dict[str, list[float]] = {}
    for r in recordings:
        seconds.setdefault(unit(r), []).append(r.seconds)
    return {name: sum(sorted(every)) for name, every in seconds.items()}


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
