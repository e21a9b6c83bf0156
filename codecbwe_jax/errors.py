"""The one exception for mistakes a user can mend; the command line prints it as one line."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence


class UserError(ValueError):
    """What is wrong, where, and what would be right, in one line: line breaks and control
    characters, which names of files may hold, are escaped."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class MistakesError(UserError):
    """Several mistakes, each in one line.

    Args:
      mistakes: one or more.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        lines = [one_line(mistake) for mistake in self.mistakes]
        return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} mistakes:", *lines])


def one_line(text: str) -> str:
    """A text with what cannot be printed escaped."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def some(items: Collection[str], most: int = 5, between: str = ", ") -> str:
    """The first of many names for a message, and how many more there are."""
    named = between.join(list(items)[:most])
    return named if len(items) <= most else f"{named} and {len(items) - most} more"


def warn(text: str) -> None:
    """A line on standard error about what is odd but not wrong."""
    print(one_line(text), file=sys.stderr, flush=True)
