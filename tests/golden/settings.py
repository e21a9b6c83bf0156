"""A case's settings, which remember what was read of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# entries for people
DOCUMENTARY = frozenset({"seed", "note", "_note", "order", "name", "clip", "start_s", "dur_s"})


class NotSupportedError(Exception):
    """A case of a known kind that our code cannot build, in one line."""


class Settings(Mapping[str, Any]):
    """A JSON object. `name in settings` reads nothing; every other look at an entry does."""

    def __init__(self, entries: Mapping[str, Any], path: str = "") -> None:
        self._path = path
        self._entries = {k: _wrapped(v, f"{path}{k}") for k, v in entries.items()}
        self._read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        value = self._entries[key]
        self._read.add(key)
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def only(self, key: str, *supported: Any) -> None:
        """An entry that our code does not take: the original's own value, or no such case."""
        value = plain(self.get(key, supported[0]))
        if value not in supported:
            known = " or ".join(str(s) for s in supported)
            raise NotSupportedError(f"{self._path}{key} {value} is not supported: only {known}")

    def follows(self, key: str, value: Any) -> None:
        """An entry that the others decide, where there is one."""
        stored = plain(self.get(key, value))
        assert stored == value, f"{self._path}{key} is {stored}; the other entries give {value}"

    def changes_nothing(self, *keys: str) -> None:
        """Entries that say something, but nothing that is computed here depends on."""
        self._read |= set(keys) & self._entries.keys()

    def unread(self) -> list[str]:
        """Entries that nobody looked at, with their paths."""
        names = [f"{self._path}{k}" for k in self._entries.keys() - self._read - DOCUMENTARY]
        for key in self._read:
            names += _unread(self._entries[key])
        return sorted(names)


def plain(value: Any) -> Any:
    """The JSON value, without memory."""
    if isinstance(value, Mapping):
        return {k: plain(value[k]) for k in value}
    return [plain(v) for v in value] if isinstance(value, list) else value


def _wrapped(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return Settings(value, f"{path}.")
    if isinstance(value, list):
        return [_wrapped(v, f"{path}[{i}]") for i, v in enumerate(value)]
    return value


def _unread(value: Any) -> list[str]:
    if isinstance(value, Settings):
        return value.unread()
    return [n for v in value for n in _unread(v)] if isinstance(value, list) else []
