"""The one exception for mistakes a user can mend; the command line prints it as one line."""

from __future__ import annotations


class UserError(ValueError):
    """What is wrong, where, and what would be right, in one line: line breaks and control
    characters, which names of files may hold, are escaped."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A text with what cannot be printed escaped."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
