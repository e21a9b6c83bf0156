"""The recordings of a run: found, judged, and divided into training and validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.data import recordings, split
from codecbwe_jax.data.recordings import Recording, Selection
from codecbwe_jax.errors import UserError

NAMED = 10  # files left out that are named


def find_recordings(
    config: ConfigDict, rate: int, workdir: Path
) -> tuple[list[Recording], list[Recording]]:
    """Recordings to train on and to validate on. Printed is what is used of each source, what was
    left out and why, and how the rest was divided.

    Args:
      config: of the run.
      rate: of the target in Hz.
      workdir: remembers measured bandwidths.

    Raises:
      UserError: if a source cannot be read, or nothing is left to train on.
    """
    data = config.data
    if not data.path:
        raise UserError("config.data.path is empty: give --config.data.path=FOLDER")
    found = recordings.find(data.path, data.speaker_pattern)
    if data.valid_path:
        chosen = _fit(found, config, rate, workdir, split.trains)
        _tell(data.path, chosen)
        other = recordings.find(data.valid_path, data.speaker_pattern)
        held = _fit(other, config, rate, workdir)
        _tell(data.valid_path, held)
        train_set, valid_set = chosen.recordings, held.recordings
    else:
        chosen = _fit(found, config, rate, workdir, lambda r: split.trains(r) or split.validates(r))
        _tell(data.path, chosen)
        train_set, valid_set = split.divide(chosen.recordings, data.valid_share)
    if not train_set:
        listed = f": it lists {split.sets(found.recordings)}" if found.recordings else ""
        raise UserError(f"{data.path}: no recording is left to train on (reasons above){listed}")
    print(split.described(train_set, valid_set), flush=True)
    if warning := split.doubt([*train_set, *valid_set]):
        print(warning, flush=True)
    return train_set, valid_set


def _fit(
    found: Selection,
    config: ConfigDict,
    rate: int,
    workdir: Path,
    wanted: Callable[[Recording], bool] = lambda _: True,
) -> Selection:
    """Those of the sets that are wanted which the run's filters keep."""
    data = config.data
    chosen = recordings.select(
        split.only(found, wanted),
        data.min_seconds,
        data.max_seconds,
        data.max_wer,
        data.max_cer,
        data.speakers,
    )
    if data.bandwidth == "measure":
        chosen = recordings.measured(chosen, workdir / "bandwidth.json")
    return recordings.wide_enough(chosen, rate, data.min_bandwidth_hz or rate / 4)


def _tell(source: str, chosen: Selection) -> None:
    print(f"{source}: {chosen.summary()}", flush=True)
    for file, reason in chosen.left_out[:NAMED]:
        print(f"  left out {file}: {reason}", flush=True)
    if len(chosen.left_out) > NAMED:
        print(f"  ... and {len(chosen.left_out) - NAMED} more", flush=True)
