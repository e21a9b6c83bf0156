"""Files that may lie on this machine, in a bucket, or behind an address of the web."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from codecbwe_jax import config, json_lines
from codecbwe_jax.errors import UserError

WEB = ("http://", "https://")
# archive.org answers "too busy" now and then
TRIES, PAUSE_S, TIMEOUT_S = 5, 10.0, 60.0


def joined(folder: str, name: str) -> str:
    """A path below a folder; a name that is an address or begins with "/" stays as it is."""
    return name if is_remote(name) or name.startswith("/") else f"{folder.rstrip('/')}/{name}"


def is_remote(path: str) -> bool:
    """Whether a path is an address ("gs://", "s3://", "https://")."""
    return "://" in path


def exists(path: str) -> bool:
    """Whether there is such a file or, on this machine, such a folder."""
    return FileSystems.exists(path) if is_remote(path) else Path(path).exists()


def size(path: str) -> int:
    """Bytes of a file."""
    if not is_remote(path):
        return Path(path).stat().st_size
    (match,) = FileSystems.match([path])
    return match.metadata_list[0].size_in_bytes


def check(path: str) -> None:
    """Raise UserError if Beam cannot reach a bucket as it is installed."""
    if is_remote(path) and not path.startswith(WEB):
        try:
            FileSystems.get_filesystem(path)
        except (BeamIOError, ValueError):
            raise UserError(
                f"{path}: Beam needs an extra for such a bucket: pip install 'apache-beam[gcp]' "
                "for gs://, [aws] for s3://"
            ) from None


def read_text(path: str) -> str:
    """A whole text file.

    Raises:
      UserError: if there is none.
    """
    with local(path) as file:
        return file.read_text(encoding="utf-8")


def json_rows(path: str) -> Iterator[json_lines.Row]:
    """JSON objects of a file, one a line.

    Raises:
      UserError: if there is none, or a line is no JSON object.
    """
    with local(path) as file:
        yield from json_lines.rows(file, path)


def write_text(path: str, text: str) -> None:
    """Write a text file that has its name only when it is whole.

    Raises:
      UserError: if it cannot be written.
    """
    with stand_in(path) as file:
        config.write_text(file, text)


@contextlib.contextmanager
def local(path: str, pause: float = PAUSE_S) -> Iterator[Path]:
    """A file to read on this machine: itself, or a copy that is removed afterwards.

    Args:
      path: a path, or an address of a bucket or of the web.
      pause: seconds between two tries to read from the web.

    Raises:
      UserError: if it is not there, or cannot be read.
    """
    if not is_remote(path):
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file")
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.rstrip("/").rsplit("/", 1)[1]
        if path.startswith(WEB):
            _fetch(path, copy, pause)
        else:
            _copy(path, copy)
        yield copy


def _fetch(address: str, to: Path, pause: float) -> None:
    for attempt in range(TRIES):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as source, to.open("wb") as out:
                shutil.copyfileobj(source, out)
                promised = source.headers.get("Content-Length")
                got = out.tell()
            if promised is None or int(promised) == got:
                return
            reason = f"{got} of {promised} bytes came"
        except urllib.error.HTTPError as error:
            if error.code in (401, 403, 404, 410):  # withdrawn: it will not come back
                raise UserError(f"{address}: {error.code} {error.reason}") from None
            reason = f"{error.code} {error.reason}"
        except OSError as error:
            reason = str(getattr(error, "reason", error))
        if attempt + 1 < TRIES:
            time.sleep(pause)
    raise UserError(f"{address}: cannot be fetched ({reason}), tried {TRIES} times")


def _copy(address: str, to: Path) -> None:
    try:
        with FileSystems.open(address) as source, to.open("wb") as out:
            shutil.copyfileobj(source, out)
    except (BeamIOError, OSError, ValueError) as error:
        raise UserError(f"{address}: cannot be read ({error})") from None


@contextlib.contextmanager
def stand_in(path: str) -> Iterator[Path]:
    """A path on this machine for a file to be written: itself, or for a bucket another, which is
    sent there when the block ends without an error.

    Raises:
      UserError: if it cannot be sent.
    """
    if not is_remote(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.rsplit("/", 1)[1]
        yield file
        _upload(file, path)


def _upload(file: Path, address: str) -> None:
    partial = f"{address}.partial"
    try:
        with file.open("rb") as source, FileSystems.create(partial) as out:
            shutil.copyfileobj(source, out)
        FileSystems.rename([partial], [address])
    except (BeamIOError, OSError, ValueError) as error:
        raise UserError(f"{address}: cannot be written ({error})") from None


def names(folder: str) -> set[str]:
    """Names of the files in a folder; none if it is not there."""
    if not is_remote(folder):
        return {p.name for p in Path(folder).iterdir()} if Path(folder).is_dir() else set()
    (match,) = FileSystems.match([f"{folder.rstrip('/')}/*"])
    return {found.path.rsplit("/", 1)[1] for found in match.metadata_list}
