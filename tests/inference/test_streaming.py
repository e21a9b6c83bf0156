"""Streams: any chunking gives what the whole gives, forever, and through a pipe."""

import gc
import resource
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import write_folder
from codecbwe_jax.inference.streaming import StreamingExtender, StreamProgram
from codecbwe_jax.systems import build, settings_of
from tests.commands import run_to_end
from tests.conftest import stirred

UNET = {"name": "bbwexnet", "widths": (4, 6, 8, 8, 8), "bottleneck": 4}
OPUS = {"name": "opus_bbwe", "size": 16}


def model_of(settings: dict) -> Model:
    system = build(settings)
    return Model("model", system, stirred(system.init(jax.random.key(0))), {})


@pytest.fixture(scope="module", params=[UNET, OPUS], ids=["unet", "opus"])
def program(request: pytest.FixtureRequest) -> StreamProgram:
    return StreamProgram(model_of(request.param))


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(20_003).astype(np.float32)


def pushed(extender: StreamingExtender, x: np.ndarray, sizes: list[int]) -> np.ndarray:
    pieces, at, turn = [], 0, 0
    while at < len(x):
        size = sizes[turn % len(sizes)]
        pieces.append(extender.push(x[at : at + size]))
        at, turn = at + size, turn + 1
    return np.concatenate([*pieces, extender.flush()])


@pytest.mark.parametrize("sizes", [[160], [1, 2, 3], [7, 161, 0, 4000], [20_003]])
def test_every_chunking_gives_what_the_whole_gives(program, noise, sizes: list[int]) -> None:
    x = noise[:3001] if sizes == [1, 2, 3] else noise
    extender = StreamingExtender(program)
    y = pushed(extender, x, sizes)
    assert len(y) == 3 * len(x)
    whole = pushed(StreamingExtender(program), x, [len(x)])
    np.testing.assert_allclose(y, whole, atol=2e-6)  # blocks of 50 frames sum in another order
    again = pushed(extender, x, sizes)  # flush has reset it
    np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize("settings", [UNET, OPUS], ids=["unet", "opus"])
def test_a_stream_gives_what_extend_gives(settings: dict, noise) -> None:
    model = model_of(settings)
    y = pushed(StreamingExtender(model), noise, [333])
    offline = jax.jit(model.system.extend)(model.params, noise[None])[0]
    np.testing.assert_allclose(y, offline, atol=2e-6)
    by_file = BandwidthExtender(model, say=lambda text: None)(noise, 16000)
    np.testing.assert_allclose(by_file, offline, atol=2e-6)


def test_the_delay_is_what_it_says(program) -> None:
    """An impulse pushed sample by sample comes out no later than `delay` says, and a frame's first
    sample waits that long."""
    extender, given, waits = StreamingExtender(program), 0, []
    for i in range(2000):
        given += len(extender.push(np.zeros(1, np.float32)))
        waits.append(3 * (i + 1) - given)
    assert max(waits) == extender.delay - 3


def test_pushes_leave_memory_flat(program) -> None:
    extender = StreamingExtender(program)
    chunk = np.zeros(16, np.float32)

    def in_use() -> tuple[int, int, int]:
        """Blocks of Python's, arrays of JAX's, KiB of the process at its largest."""
        gc.collect()
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return sys.getallocatedblocks(), len(jax.live_arrays()), largest

    for _ in range(2000):
        extender.push(chunk)
    compiled, before = dict(program.steps), in_use()
    for _ in range(20_000):  # every tenth runs the network
        extender.push(chunk)
    blocks, arrays, largest = np.subtract(in_use(), before)
    assert blocks < 200  # an object left in every hundredth push
    assert arrays == 0
    assert largest < 2048  # 105 bytes a push, of whatever kind
    # compiled programs cannot be compiled again: these are still all there are
    assert compiled == program.steps


def test_the_switch_makes_no_click(program) -> None:
    """Off and on between chunks: no sample step above those of either path, and after the warm-up
    the output is that of a stream that was never off."""
    t = np.arange(32_000) / 16000
    sine = (0.3 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    on = StreamingExtender(program).push(sine)
    off = StreamingExtender(program)
    off.switch(False)
    plain = off.push(sine)
    switched, pieces = StreamingExtender(program), []
    for i, frame in enumerate(np.split(sine, 200)):
        if i in (60, 130):
            switched.switch(i == 130)
        pieces.append(switched.push(frame))
    y = np.concatenate(pieces)
    largest = max(np.abs(np.diff(w[600:])).max() for w in (on, plain))
    # the fade's own slope: the difference of the paths over half a frame
    slope = np.abs(on - plain)[600:].max() * np.pi / 2 / 480
    assert np.abs(np.diff(y[600:])).max() <= largest + slope
    lag = program.system.lag
    np.testing.assert_array_equal(y[480 * 62 : 480 * 129], plain[480 * 62 : 480 * 129])
    np.testing.assert_allclose(y[-4800 + lag :], on[-4800 + lag :], atol=1e-4)
    # off, what is heard is the interpolated input
    expected = np.asarray(program.system.interpolate(sine[None]))[0, lag:]
    np.testing.assert_allclose(plain[2000:], expected[2000 : len(plain)], atol=1e-6)


def test_bad_chunks_take_nothing(program) -> None:
    extender = StreamingExtender(program)
    with pytest.raises(UserError, match=r"\[2, 3\]; \[samples\]"):
        extender.push(np.zeros((2, 3)))
    with pytest.raises(UserError, match="NaN"):
        extender.push(np.array([0.0, np.nan]))
    with pytest.raises(UserError, match=r"sample 1 is 3e\+38"):
        extender.push(np.array([0.0, 3e38]))
    assert len(extender.flush()) == 0


def test_what_sees_the_future_cannot_stream() -> None:
    model = Model("sinc", build({"name": "sinc"}), {}, {})
    with pytest.raises(UserError, match="it sees the future"):
        StreamingExtender(model)


def test_a_pipe_gives_what_a_file_gives(tmp_path: Path, noise) -> None:
    """A shell pipe through the command as Python starts it, in pieces that end within a sample."""
    model = model_of(OPUS)
    write_folder(model, settings_of(model.system), tmp_path / "model")
    levels = np.rint(noise * 32768).astype("<i2")
    command = [sys.executable, "-m", "codecbwe_jax", "extend", f"--model={tmp_path / 'model'}"]
    with subprocess.Popen(
        [*command, "--stream"],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        data = levels.tobytes()
        process.stdin.write(data[:9999])
        process.stdin.flush()
        early = process.stdout.read(2 * 3 * 4700)  # while the pipe is open
        out, err = process.communicate(data[9999:])
    assert process.returncode == 0, err
    assert b"delay 10.3 ms" in err
    received = np.frombuffer(early + out, "<i2")
    extender = StreamingExtender(model)
    expected = pushed(extender, levels.astype(np.float32) / 32768, [1600])
    assert len(received) == len(expected)
    # a rounding to 16 bits may fall to either side
    np.testing.assert_allclose(received, expected * 32768, atol=1.01)


def test_a_pipe_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    def run(*arguments: str, data: bytes = b"") -> str:
        command = [sys.executable, "-m", "codecbwe_jax", "extend", *arguments]
        done = run_to_end(command, data)
        assert done.returncode == 2
        return done.stderr.decode()

    assert "sees the future" in run("--model=sinc", "--stream")
    assert "standard input" in run("--model=sinc", "--stream", "--output=x.wav")
    assert "needs IN and --output" in run("--model=sinc")
    model = model_of(OPUS)
    write_folder(model, settings_of(model.system), tmp_path / "model")
    odd = run(f"--model={tmp_path / 'model'}", "--stream", data=b"abc")
    assert "ended within a sample: 1 of 2 bytes" in odd
