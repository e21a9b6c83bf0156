"""Files of any length, in the same memory and with the same results as whole waveforms."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
import soxr

from codecbwe_jax.audio import files
from codecbwe_jax.inference.batch import redecode_file
from codecbwe_jax.inference.blocks import resampled, resampled_length
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import write_folder
from codecbwe_jax.inference.token_decoder import TokenDecoder
from codecbwe_jax.inference.tokens import TokenFile, decode_files, encode_files
from codecbwe_jax.systems import build
from tests.conftest import MICRO_CODEC, ROOT, random_codec, stirred

HOUR = 3600  # seconds, of which a float32 for each sample is many times what is allowed to be held
# MB: what a process takes to compile, which only one of two may have to: 115 seen
COMPILING = 150
# Extends or decodes one file after the other, and prints the peak of its memory in MiB after each.
# Not getrusage: that begins with the peak of the process that started this one.
PROGRAM = r"""
import re, sys
from pathlib import Path
from codecbwe_jax.cli import main

command, model, *sources = sys.argv[1:]
for source in sources:
    if main([command, f"--model={model}", source, f"--output={source}.wav"]):
        sys.exit(1)
    status = Path("/proc/self/status").read_text()
    print("peak", int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024)
"""


def random_model(settings: dict) -> Model:
    system = build(settings)
    params = stirred(system.init(jax.random.key(0)))
    return Model("small", system, params, {})


def written(model: Model, settings: dict, folder: Path) -> Path:
    write_folder(model, settings, folder)
    return folder


def peaks(command: str, model: Path, sources: list[Path]) -> list[int]:
    """MiB after each of the sources."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}  # much to compute
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, command, str(model), *map(str, sources)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    return [int(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("peak")]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' peak of memory")
def test_an_hour_extended_by_a_network_takes_no_more_memory_than_one_minute(
    tmp_path: Path,
) -> None:
    settings = {"name": "high_band", "size": 8, "intermediate": 8, "layers": 1}
    model = written(random_model(settings), settings, tmp_path / "model")
    second = 0.1 * np.random.default_rng(0).standard_normal(16000)
    sources = [tmp_path / "minute.wav", tmp_path / "hour.wav"]
    for source, seconds in zip(sources, (60, HOUR), strict=True):
        with soundfile.SoundFile(source, "w", 16000, 1, "PCM_U8") as file:
            for _ in range(seconds):
                file.write(second)
    short, long = peaks("extend", model, sources)
    assert soundfile.info(f"{sources[1]}.wav").frames == HOUR * 32000
    Path(f"{sources[1]}.wav").unlink()
    # an hour is 230 MB at 16 kHz and 460 MB at 32 kHz in float32
    assert long < short + COMPILING


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' peak of memory")
def test_an_hour_of_tokens_decoded_takes_no_more_memory_than_one_minute(tmp_path: Path) -> None:
    backbone = {"size": 32, "intermediate": 8, "layers": 1, "heads": 1, "head_size": 8}
    settings = {"name": "native_istft", "output_rate": 24000, "features": 32, "backbone": backbone}
    model = random_model(settings)
    book = TokenDecoder(model).codebook_hash
    folder = written(model, settings, tmp_path / "model")
    sources = [tmp_path / "minute.tokens", tmp_path / "hour.tokens"]
    for source, seconds in zip(sources, (60, HOUR), strict=True):
        tokens = np.random.default_rng(0).integers(0, 65536, (1, 50 * seconds)).astype(np.int32)
        TokenFile(tokens, 16000, 16000 * seconds, "any", book).write(source)
    short, long = peaks("decode", folder, sources)
    assert soundfile.info(f"{sources[1]}.wav").frames == HOUR * 24000
    Path(f"{sources[1]}.wav").unlink()
    # an hour is 345 MB at 24 kHz in float32
    assert long < short + COMPILING


@pytest.fixture(scope="module", params=["xcodec2", "neucodec", "pooled"])
def codec(request: pytest.FixtureRequest) -> FrozenCodec:
    settings = {"pooling": 2, "output_rate": 24000} if request.param == "pooled" else {}
    family = "neucodec" if request.param == "neucodec" else "xcodec2"
    return FrozenCodec(Model("micro", *random_codec(family, **settings), {}), window_seconds=3.0)


@pytest.fixture(scope="module")
def native() -> TokenDecoder:
    shared = {"features": 96, "backbone": MICRO_CODEC["backbone"]}
    return TokenDecoder(random_model({"name": "native_istft", "output_rate": 32000, **shared}), 3.0)


def noise(samples: int, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 0.1 * rng.standard_normal((samples, channels)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.01, 5.3])
def test_files_in_blocks_give_what_whole_waveforms_give(
    codec: FrozenCodec, seconds: float, tmp_path: Path
) -> None:
    """Two channels of another rate, to tokens and back."""
    source, coded, decoded = (tmp_path / name for name in ("x.wav", "x.tokens", "y.wav"))
    files.write(source, noise(round(44100 * seconds), 2), 44100, "FLOAT")
    wave, rate = files.read(source)
    encode_files(codec, [source], coded)
    stored = TokenFile.read(coded)
    whole = codec.encode_all(list(soxr.resample(wave, rate, 16000).T))
    np.testing.assert_array_equal(stored.tokens, np.stack(whole))
    decode_files(codec, [coded], decoded, "FLOAT")
    rows = codec.decode_all(list(stored.tokens))
    length = round(len(wave) * codec.system.output_rate / rate)
    expected = [np.pad(row[:length], (0, max(length - len(row), 0))) for row in rows]
    np.testing.assert_array_equal(files.read(decoded)[0], np.stack(expected, axis=1))


def test_what_a_file_is_cut_into_is_no_matter(codec: FrozenCodec) -> None:
    wave = noise(40 * 4410)
    whole = codec.reconstruct(wave[:, 0], 44100)
    for size in (100, 30001):
        cut = [wave[i : i + size] for i in range(0, len(wave), size)]
        blocks = list(codec.reconstruct_blocks(cut, 44100, len(wave), 1))
        np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], whole)


def test_a_file_is_encoded_and_decoded_a_few_windows_at_a_time(
    native: TokenDecoder, tmp_path: Path
) -> None:
    """What NumPy holds of 40 s, in windows of six; the encoder is too slow for hours."""
    codec = FrozenCodec(Model("micro", *random_codec(), {}), window_seconds=6.0)
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    files.write(short, noise(48000 * 8), 48000)
    files.write(long, noise(48000 * 40), 48000)
    redecode_file(codec, native, short, tmp_path / "compiled.wav")
    tracemalloc.start()
    redecode_file(codec, native, long, tmp_path / "out.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert soundfile.info(tmp_path / "out.wav").frames == 40 * 32000
    # the file is 7.7 MB in float32; blocks of 4 s are 0.8, two windows at 16 kHz 0.8 too
    assert peak < 6e6


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000])
def test_resampling_in_blocks_gives_soxr_s_samples_and_their_number(rate: int) -> None:
    for samples in (1, 2, 3, 5, 100, 4799, 3 * rate + 7, 9 * rate + 1):
        wave = noise(samples, 2)
        blocks = [wave[i : i + rate] for i in range(0, samples, rate)]
        ours = np.concatenate(list(resampled(blocks, rate, 16000)))
        np.testing.assert_array_equal(ours, soxr.resample(wave, rate, 16000))
        assert len(ours) == resampled_length(samples, rate, 16000)
