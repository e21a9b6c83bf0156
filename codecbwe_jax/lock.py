"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from codecbwe_jax import atomic
from codecbwe_jax.errors import UserError, warn

NAME = ".lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made, for this process; it is free again however the process ends.
    A folder to which nothing else has come is removed.

    Raises:
      UserError: names the process that holds it, or says that the folder cannot be written.
    """
    with atomic.told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / NAME).open("a+", encoding="utf-8")
    with file:
        # of the process, not of the open file: a data worker that outlives it does not hold it
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                # a file system without locks: better without than not at all
                warn(f"{folder}: is not kept from other runs ({error.strerror})")
                yield
                return
            file.seek(0)
            who = file.read().strip() or "another process"
            raise UserError(
                f"{folder}: {who} is at work in it; wait for it, or take another folder"
            ) from None
        with atomic.told(folder):
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {since},")
            file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):  # somebody may have removed it
                if os.listdir(folder) == [NAME]:
                    (folder / NAME).unlink()
                    folder.rmdir()
