"""Python programs started in a moment: forked from one process that has imported what they use.

`Command` is `subprocess.Popen` of `[sys.executable, "-m" or "-c", ...]`: a process of its own. Its
pid, folder, environment, streams, signals and status are real; its imports, which take seconds, are
done before. So what libraries read when they are imported is as the tests have it, and `hash(str)`
is alike in all of them: tests of such things start Python itself, by `subprocess`.

The process that forks ("server") starts a middleman, which starts the program and ends. The worker
of the tests adopts orphans, and thereby is the program's parent, which waits for its status.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import inspect
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

# No thread may run where is forked, but for OpenBLAS's, which it stops and starts around a fork.
# So neither ONNX Runtime nor Beam is here.
IMPORTED = (
    "codecbwe_jax.compare",
    "codecbwe_jax.demo",
    "codecbwe_jax.inference.batch",
    "codecbwe_jax.inference.pipe",
    "codecbwe_jax.interop.export_original",
    "codecbwe_jax.interop.export_transformers",
    "codecbwe_jax.training.cache",
    "codecbwe_jax.training.loop",
    "codecbwe_jax.training.plan",
    "matplotlib.backends.backend_agg",
    "tensorboardX",
    "torch",
)


class Command(subprocess.Popen):
    """`subprocess.Popen([sys.executable, "-m" or "-c", ...], ...)`, forked where the system can."""

    def _execute_child(self, *given: Any) -> None:
        if sys.platform != "linux":
            super()._execute_child(*given)
            return
        call = inspect.signature(super()._execute_child).bind(*given).arguments
        theirs = [call[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        ours = [call[name] for name in ("p2cwrite", "c2pread", "errread")]
        request = {
            "words": [os.fspath(word) for word in call["args"]][1:],
            "folder": os.path.abspath(call["cwd"] or "."),
            "environment": dict(os.environ if call["env"] is None else call["env"]),
        }
        self.pid = _forked(request, [fd if fd >= 0 else i for i, fd in enumerate(theirs)])
        self._child_created = True
        done = {a for a, b in zip(theirs, ours, strict=True) if b >= 0}
        for fd in done | ({self._devnull} if hasattr(self, "_devnull") else set()):
            os.close(fd)
        self._closed_child_pipe_fds = True


def run_to_end(
    command: list[Any], given: Any = None, timeout: float = 600, **options: Any
) -> subprocess.CompletedProcess:
    """`subprocess.run(command, capture_output=True, ...)` of a `Command`.

    Args:
      command: `[sys.executable, "-m" or "-c", ...]`.
      given: for its standard input.
      timeout: in seconds, after which it is killed.
      **options: of `subprocess.Popen`.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if given is not None:
        streams["stdin"] = subprocess.PIPE
    with Command(command, **(streams | options)) as process:
        try:
            out, error = process.communicate(given, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, error)


@functools.cache
def _server() -> socket.socket:
    """A connection to the process that forks, which ends when this one does."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", "tests.commands", str(theirs.fileno())],
            cwd=ROOT,
            env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},  # as a command sets it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return ours


def _forked(request: dict[str, Any], streams: list[int]) -> int:
    """The pid of a process that does what is asked, with these standard streams."""
    data = json.dumps(request).encode()
    server = _server()
    socket.send_fds(server, [len(data).to_bytes(4, "big")], streams)
    server.sendall(data)
    answer = server.recv(4)
    if not answer:
        raise ChildProcessError("the process that forks commands has ended; see standard error")
    return int.from_bytes(answer, "big")


def serve(connection: int) -> list[str]:
    """Fork for every request that comes by a socket, until it is closed.

    Returns:
      In a forked process, the words after `python`. The server itself never returns.
    """
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that pages stay shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the programs
    with socket.socket(fileno=connection) as worker:
        while True:
            head, streams, _, _ = socket.recv_fds(worker, 4, 3)
            if not head:
                sys.exit()
            data = worker.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            answer, middleman = os.pipe()
            if not (pid := os.fork()):
                if program := os.fork():
                    os.write(middleman, program.to_bytes(4, "big"))
                    os._exit(0)
                break
            os.waitpid(pid, 0)
            worker.sendall(os.read(answer, 4))
            for fd in (answer, middleman, *streams):
                os.close(fd)
    os.close(answer)
    os.close(middleman)
    return _become(streams, **json.loads(data))


def _become(
    streams: list[int], words: list[str], folder: str, environment: dict[str, str]
) -> list[str]:
    """This process as Python makes it for a program."""
    for number, (fd, name) in enumerate(zip(streams, ("stdin", "stdout", "stderr"), strict=True)):
        os.dup2(fd, number)
        os.close(fd)
        setattr(sys, name, _reopened(getattr(sys, name), number))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if devices := environment.get("JAX_NUM_CPU_DEVICES"):  # JAX has read its environment
        import jax

        jax.config.update("jax_num_cpu_devices", int(devices))
    return words


def _reopened(stream: TextIO, number: int) -> TextIO:
    """A standard stream on what its descriptor is now."""
    buffering = 0 if stream.write_through else -1
    binary = open(number, f"{stream.mode}b", buffering, closefd=False)  # noqa: SIM115
    new = io.TextIOWrapper(
        binary,
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    new.mode = stream.mode
    return new


def _end(status: int) -> None:
    """What Python does at the end of a program, but for freeing what the imports have made, which
    takes half a second. Returns where it must see for itself that nobody reads the output."""
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status & 0xFF)


if __name__ == "__main__":
    kind, program, *arguments = serve(int(sys.argv[1]))
    sys.argv = [kind, *arguments]
    try:
        if kind == "-m":
            sys.path[0] = os.getcwd()
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = ""
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(program, "<string>", "exec"), vars(sys.modules["__main__"]))
    except SystemExit as ended:
        if isinstance(ended.code, int):
            _end(ended.code)
        raise
