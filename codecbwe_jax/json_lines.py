"""Text files from anywhere, a line at a time: lists, and JSON lines with their fields."""

from __future__ import annotations

import codecs
import dataclasses
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codecbwe_jax.errors import UserError

LONGEST_NAME = 255  # bytes, of a file on Linux
SHOWN = 60  # characters of a bad line in a message


def lines(path: Path, name: object = None) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1, without white space around them.

    Args:
      path: text in UTF-8, or in UTF-16 with a byte-order mark; of any line ending.
      name: what messages call the file, if not its path.

    Raises:
      UserError: if it cannot be read, or at the first line that is of another encoding.
    """
    name, number = name or path, 0
    try:
        with path.open("rb") as file:
            utf_16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if utf_16 else "utf-8-sig"
        # bytes of another encoding pass as surrogates, so that their line can be named
        errors = "strict" if utf_16 else "surrogateescape"
        with path.open(encoding=encoding, errors=errors) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    line.encode()
                    yield number, line.strip()
    except UnicodeDecodeError:
        raise UserError(f"{name}: broken UTF-16 text; save it as UTF-8") from None
    except UnicodeEncodeError:
        raise UserError(f"{name}:{number}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror})") from None


@dataclasses.dataclass(frozen=True)
class Row:
    """A JSON object. A field that is null is absent.

    Attributes:
      file: that it is in.
      where: "FILE:LINE", for messages.
      fields: as they stand there.
    """

    file: Path
    where: str
    fields: dict[str, Any]

    def number(self, name: str, unit: str = "") -> float | None:
        """A finite number, or one that stands there as text; None if absent.

        Raises:
          UserError: if it is something else.
        """
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            what = f"a number of {unit}" if unit else "a number"
            raise UserError(f"{self.where}: {name} is {_shown(value)}; {what} is expected")
        return number

    def text(self, name: str) -> str:
        """Text, or a number as text; "" if absent.

        Raises:
          UserError: if it is something else.
        """
        value = self.fields.get(name)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UserError(f"{self.where}: {name} is {_shown(value)}; text is expected")
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # what tables make of a whole number in a column with gaps
        return str(value)

    def needed(self, name: str, unit: str = "") -> float:
        """As `number`, which must be there."""
        self.require(name)
        return self.number(name, unit)

    def path(self, name: str) -> Path:
        """A path, which must be there, from the folder that the file is in.

        Raises:
          UserError: if it is absent, or no path.
        """
        self.require(name)
        return path_of(self.text(name), self.file.parent, self.where)

    def parts(self, name: str) -> list[Row]:
        """A list of objects, which must be there.

        Raises:
          UserError: if it is something else.
        """
        self.require(name)
        items = self.fields[name]
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise UserError(
                f"{self.where}: {name} is {_shown(items)}; a list of objects is expected"
            )
        return [Row(self.file, self.where, item) for item in items]

    def require(self, *names: str) -> None:
        """Raise UserError if fields are absent."""
        missing = [name for name in names if self.fields.get(name) in (None, "")]
        if missing:
            got = _shown(json.dumps(self.fields))
            raise UserError(
                f"{self.where}: expected a JSON object with {', '.join(missing)}, got {got}"
            )


def path_of(text: str, folder: Path, where: str) -> Path:
    """A path that stands in a text file, from a folder.

    Raises:
      UserError: if no file can have it.
    """
    try:
        parts = os.fsencode(text).split(b"/")
    except UnicodeEncodeError:
        parts = [b"\0"]
    if any(b"\0" in part or len(part) > LONGEST_NAME for part in parts):
        raise UserError(f"{where}: {_shown(text)} cannot be a path")
    return folder / text


def rows(path: Path, name: object = None) -> Iterator[Row]:
    """JSON objects, one a line; of a `.json`, also those of one array.

    Args:
      path, name: see `lines`.

    Raises:
      UserError: as `lines`, or at the first line that is no JSON object.
    """
    name = name or path
    for number, line in lines(path, name):
        if path.suffix == ".json" and line.startswith("["):
            yield from _array(path, name)
            return
        yield _parsed(line, path, f"{name}:{number}")


def _parsed(line: str, file: Path, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, got {line[:SHOWN]!r}")
    return Row(file, where, row)


def _array(path: Path, name: object) -> Iterator[Row]:
    try:
        items = json.loads("\n".join(line for _, line in lines(path, name)))
    except (ValueError, RecursionError):
        raise UserError(f"{name}: expected one JSON object a line, or one array of them") from None
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise UserError(f"{name}: item {number}: expected a JSON object, got {_shown(item)}")
        yield Row(path, f"{name}: item {number}", item)


def _shown(value: Any) -> str:
    return repr(value)[:SHOWN] if not isinstance(value, int) else str(value)[:SHOWN]
