"""Which recordings an evaluation compares with."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path

from codecbwe_jax.data import recordings
from codecbwe_jax.data.recordings import Recording, Selection
from codecbwe_jax.errors import UserError, one_line


def references(
    data: Path, rate: int, clips: int, say: Callable[[str], None] = print
) -> list[Recording]:
    """Recordings evenly spaced through a source, in its order. What does not hold the band is
    named, and others take its place; no more are decoded than it takes.

    Args:
      data: see `data.recordings.find`.
      rate: of the outputs in Hz; a quarter of it is the least real bandwidth.
      clips: at most so many.
      say: gets a line about each that is left out.

    Raises:
      UserError: if none is left.
    """
    found = recordings.find(data)
    step = max(1, -(-len(found.recordings) // clips))
    places = sorted(range(len(found.recordings)), key=lambda i: (i % step != 0, i))
    wanted = len(found.recordings[::step])
    kept: dict[int, Recording] = {}
    left_out = list(found.left_out)
    for i in places:
        if len(kept) == wanted:
            break
        one = recordings.measured(Selection([found.recordings[i]], []))
        one = recordings.wide_enough(one, rate, rate / 4)
        if one.recordings:
            (kept[i],) = one.recordings
        left_out += one.left_out
    for path, reason in left_out:
        say(one_line(f"left out {path}: {reason}"))
    if not kept:
        told = recordings.counted(collections.Counter(why for _, why in left_out))
        raise UserError(f"{data}: no recording to compare with{told}")
    return [kept[i] for i in sorted(kept)]
