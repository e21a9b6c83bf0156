"""A forked program is what Python would have started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Command, run_to_end

PROGRAMS = {
    "a status": "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)",
    "a word": "import sys; sys.exit('a word')",
    "a mistake": "import atexit; atexit.register(print, 'bye'); 1 / 0",
    "a signal": "import os; print('lost where it is buffered'); os.kill(os.getpid(), 9)",
    "a thread": "import sys, threading as t; t.Timer(0.01, print, ['late']).start(); sys.exit()",
    "a place": "import os, sys; print(os.getcwd(), sys.argv, sys.path[0], os.environ['WORD'])",
    "streams": "import sys; print(sys.stdin.read(), 'ä', sys.stdout.encoding, sys.stdin.errors)",
    "handlers": "import signal; print([signal.getsignal(n) for n in (2, 13, 15)])",
    "a main": "import __main__; print(__name__, __main__.__spec__)",
    "descriptors": "import os; print(os.listdir('/proc/self/fd'))",
}  # fmt: skip


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_forked_program_does_what_a_started_one_does(what: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAMS[what], "an argument"]
    how = {"cwd": tmp_path, "env": {**os.environ, "WORD": "given"}, "text": True}
    started = subprocess.run(command, input="a line", capture_output=True, **how)
    forked = run_to_end(command, "a line", **how)
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_a_signal_finds_it_and_its_status_comes_back() -> None:
    program = "import time; print('begun', flush=True); time.sleep(100)"
    for number in (signal.SIGINT, signal.SIGTERM):
        with Command([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"begun\n"
            assert process.pid != os.getpid()
            assert process.poll() is None
            process.send_signal(number)
            assert process.wait(timeout=60) == -number


def test_two_at_once_have_the_devices_that_each_is_given() -> None:
    program = "import jax, sys; sys.exit(10 + jax.device_count())"
    running = [
        Command(
            [sys.executable, "-c", program],
            env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)},
        )
        for devices in (1, 2)
    ]
    assert [process.wait(timeout=60) for process in running] == [11, 12]
