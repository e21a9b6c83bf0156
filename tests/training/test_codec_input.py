"""Training on a codec's output: in the step and from a cache, killed and resumed."""

import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from codecbwe_jax import systems
from codecbwe_jax.data import codec_pairs, pipeline
from codecbwe_jax.errors import UserError
from codecbwe_jax.training import cache, codec_input
from codecbwe_jax.training.data import find_recordings
from codecbwe_jax.training.settings import load_run
from tests.commands import Command, run_to_end
from tests.conftest import run_cli

CONFIG = "tests/training/micro_config.py:48k_codec"


def config_for(corpus: Path, codec: Path, *extra: str):
    overrides = [
        f"--config.data.path={corpus}",
        f"--config.data.codec={codec}",
        "--config.data.input=codec_online",
        "--config.data.chunk_seconds=0.5",
        "--config.train.batch_size=8",  # one for each of the test's devices
        "--config.data.segment_samples=4800",
        *extra,
    ]
    return load_run(CONFIG, overrides)


@pytest.fixture(scope="module")
def cached(corpus: Path, codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    figures = cache.write_cache(config_for(corpus, codec_folder), folder)
    assert figures["seconds_per_second"] > 0
    assert figures["bytes_per_hour"] > 0
    return folder


@pytest.mark.parametrize("workers", [0, 1])
def test_both_ways_give_the_same_pairs(
    corpus: Path, codec_folder: Path, cached: Path, tmp_path: Path, workers: int
) -> None:
    config = config_for(corpus, codec_folder)
    system = systems.build(config.system)
    found, _ = find_recordings(config, 48000, tmp_path)
    source, codec = codec_input.load(config, system)
    online = pipeline.batches(codec_input.make_pairs(config, found, source), 4)
    config.data.input, config.data.cache = "codec_cached", str(cached)
    stored = pipeline.batches(codec_input.make_pairs(config, found, source), 4, workers=workers)
    prepare = jax.jit(source.prepare)
    for ours, theirs in itertools.islice(zip(online, stored, strict=False), 3):
        broken = ours.pop("broken"), theirs.pop("broken")
        assert all(np.all(b == -1) for b in broken)
        made = jax.device_get(prepare(codec.params, ours))
        assert made.keys() == theirs.keys() == {"input", "tokens", "target", "index"}
        for name in made:
            np.testing.assert_array_equal(made[name], theirs[name], err_msg=name)
        assert made["input"].shape == (4, 1600)
        assert made["tokens"].shape == (4, 5)
        assert np.abs(made["input"]).max() > 0


def test_the_input_is_the_codecs_of_the_target(corpus: Path, codec_folder: Path, tmp_path) -> None:
    """A pair is cut from one place: tokens decode to the input, the target is where it was."""
    config = config_for(corpus, codec_folder, "--config.data.codec_dtype=float32")
    system = systems.build(config.system)
    found, _ = find_recordings(config, 48000, tmp_path)
    source, codec = codec_input.load(config, system)
    make = codec_input.make_pairs(config, found, source)
    rng = np.random.default_rng(0)
    pair = make.make(0, rng)
    chunk = make.recordings[0]
    whole = pipeline.read_segment(chunk, 48000, 24000, 0.0)
    first = int(pair["first_token"])
    np.testing.assert_array_equal(pair["target"], whole[first * 960 :][:4800])
    batch = {k: np.asarray(v)[None] for k, v in pair.items()}
    made = jax.device_get(source.prepare(codec.params, batch))
    tokens, decoded = codec_input.round_trip(source.codec, codec.params, batch["heard"])
    np.testing.assert_array_equal(made["tokens"][0], tokens[0, first : first + 5])
    np.testing.assert_array_equal(made["input"][0], decoded[0, first * 320 :][:1600])


def test_a_cache_of_something_else_is_refused(
    corpus: Path, codec_folder: Path, cached: Path, tmp_path: Path
) -> None:
    config = config_for(corpus, codec_folder, "--config.data.chunk_seconds=0.4")
    config.data.input, config.data.cache = "codec_cached", str(cached)
    source, _ = codec_input.load(config, systems.build(config.system))
    found, _ = find_recordings(config, 48000, tmp_path)
    with pytest.raises(UserError, match="made from other recordings, chunks or another codec"):
        codec_input.make_pairs(config, found, source)
    config.data.cache = str(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        codec_input.make_pairs(config, found, source)


def test_a_killed_cache_goes_on(corpus: Path, codec_folder: Path, tmp_path: Path) -> None:
    """Killed after the first of many shards, then run by two hosts: what one job makes comes out,
    and it is the same again."""
    program = (
        "import sys; from codecbwe_jax.training import cache; cache.CHUNKS_PER_SHARD = 2\n"
        "from codecbwe_jax.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    def command(output: Path, *extra: str) -> list[str]:
        return [
            sys.executable, "-c", program, "cache", f"--config={CONFIG}",
            f"--codec={codec_folder}", f"--output={output}", *extra,
            f"--config.data.path={corpus}", "--config.data.chunk_seconds=0.5",
        ]  # fmt: skip

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = Command(command(killed), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while not list(killed.glob("*/codec_pairs*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "cache.json").exists()
    for run in (
        command(killed, "--host=0", "--hosts=2"),
        command(killed, "--host=1", "--hosts=2"),
        command(whole),
    ):
        result = run_to_end(run, text=True)
        assert result.returncode == 0, result.stderr
    key = json.loads((killed / "cache.json").read_text())["key"]
    assert key == json.loads((whole / "cache.json").read_text())["key"]
    ours, theirs = (codec_pairs.open_cache(folder / key) for folder in (killed, whole))
    assert len(ours) == len(theirs) > 4
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a["tokens"], b["tokens"])
        assert a["decoded"] == b["decoded"]


def test_training_on_both_is_the_same(corpus: Path, codec_folder: Path, tmp_path: Path) -> None:
    """All in processes of one device: with eight, sums are shared out differently, and a token
    at the edge of a level may be another."""
    data = (
        f"--config={CONFIG}", f"--config.data.path={corpus}",
        f"--config.data.codec={codec_folder}", "--config.data.chunk_seconds=0.5",
    )  # fmt: skip
    result = run_cli("cache", *data, f"--output={tmp_path / 'cache'}")
    assert result.returncode == 0, result.stderr
    losses = {}
    for kind in ("codec_online", "codec_cached"):
        result = run_cli(
            "train", *data, f"--workdir={tmp_path / kind}", f"--config.data.input={kind}",
            f"--config.data.cache={tmp_path / 'cache'}", "--config.train.steps=3",
            "--config.checkpoint.every=3", "--config.evaluators.valid.every=3",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        rows = [json.loads(r) for r in (tmp_path / kind / "metrics.jsonl").open()]
        losses[kind] = [r["generator/loss"] for r in rows if "generator/loss" in r]
    # the same pairs in two compilations of the step
    np.testing.assert_allclose(losses["codec_online"], losses["codec_cached"], rtol=1e-4)
