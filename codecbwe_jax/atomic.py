"""Files and folders that have their name only when they are whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from codecbwe_jax.errors import UserError

# what a killed process may leave, for `glob`
LEFTOVERS = ".*.partial*"


def temporary(path: Path, unique: bool = False) -> Path:
    """A hidden name beside a final one, with the same ending and never longer than file systems
    allow: it holds a hash of the name, not the name.

    Args:
      path: the final name.
      unique: another one each time, for several writers of one file.
    """
    key = uuid.uuid4().bytes if unique else hashlib.sha256(os.fsencode(path.name)).digest()
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= 16 else ""
    return path.with_name(f".{key[:8].hex()}.partial{suffix}")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name for a file or folder, which takes the final name's place if nothing was
    raised, and is not left behind if something was. The folder around it is made.

    Raises:
      UserError: if it cannot be written.
    """
    partial = temporary(path)
    try:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove(partial)
        try:
            yield partial
        except OSError as error:
            if not _is_of(error, partial):  # of another file, which was read meanwhile
                raise
            with told(path):
                raise
        with told(path):
            if partial.is_dir() and path.is_dir():
                shutil.rmtree(path)
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(partial)
        raise


def _is_of(error: OSError, partial: Path) -> bool:
    """Whether an error names what is being written, or nothing, as that of a full disk does."""
    name = error.filename
    return name is None or Path(os.fsdecode(name)).is_relative_to(partial)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system says while a file is written into a UserError that names it.

    Raises:
      UserError: if an OSError was raised.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
