"""The commands: the entry point, and what becomes of a fault. `parser.py` says what may be typed;
each command, in the other files, calls and prints."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from codecbwe_jax.cli.parser import parse
from codecbwe_jax.errors import UserError, one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 for a mistake in one clear line, 1 for a fault
    of ours in one line, with the traceback in a file, or 128 and the signal's number after an
    interruption."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        args = parse(argv)
        return args.run(args) or 0
    except UserError as error:
        print(f"codecbwe: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("codecbwe: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        print(f"codecbwe: {_unforeseen(error)}", file=sys.stderr)
        return 1


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """What is half written is removed on the way out."""
    raise SystemExit(128 + number)


def _unforeseen(error: Exception) -> str:
    """One line, and the traceback in a file that it names."""
    told = one_line(f"{type(error).__name__}: {error}")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="codecbwe_", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.write(f"{sys.argv}\n{traceback.format_exc()}")
    except OSError:
        return f"{told} (a fault of codecbwe's)\n{traceback.format_exc()}"
    return f"{told} (a fault of codecbwe's; what led to it is in {file.name})"
