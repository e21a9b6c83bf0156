"""The exact-length contract, chunking, and files."""

from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from codecbwe_jax.audio.waveform import MAX_LEVEL
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.batch import plan
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.inference.streaming import StreamingExtender
from codecbwe_jax.systems import build
from codecbwe_jax.systems.ap_bwe import ApBwe
from tests.conftest import run_cli, stirred
from tests.interop.test_post_hoc_export import SYSTEMS, UNNAMED

SYSTEM = ApBwe(channels=8, layers=2, n_fft=128, hop_length=40, win_length=128, resampler="hann24")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model("micro", SYSTEM, jax.device_get(SYSTEM.init(jax.random.key(0))), {})


@pytest.fixture(scope="module")
def extender(model: Model) -> BandwidthExtender:
    return BandwidthExtender(model, say=lambda text: None)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("samples", [1, 2, 399, 16001])
def test_the_length_is_exact(extender: BandwidthExtender, rate: int, samples: int) -> None:
    x = 0.1 * np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    y = extender(x, rate)
    assert y.shape == (round(samples * 48000 / rate),)
    assert y.dtype == np.float32
    assert np.all(np.isfinite(y))


@pytest.mark.parametrize("name", ["sinc", "band_replication", "micro"])
def test_chunks_join_to_the_whole(name: str, model: Model, voice: np.ndarray) -> None:
    model = model if name == "micro" else load_model(name)
    x = voice[::3]
    whole = BandwidthExtender(model, chunk_seconds=4.0, say=str)(x, 16000)
    pieces = BandwidthExtender(model, chunk_seconds=0.37, say=str)(x, 16000)
    difference = np.max(np.abs(whole - pieces)) / np.max(np.abs(whole))
    assert 20 * np.log10(difference + 1e-20) < -60


def test_output_is_time_aligned() -> None:
    click = np.zeros(12000, np.float32)
    click[7000] = 1.0
    for rate in (16000, 24000, 44100):
        y = BandwidthExtender(load_model("sinc"), say=str)(click, rate)
        assert abs(int(np.argmax(y)) - 7000 * 48000 / rate) <= 1


def test_channels_are_extended_by_themselves(extender: BandwidthExtender, voice) -> None:
    left, right = voice[:30000:3], voice[60000:90000:3]
    both = extender(np.stack([left, right], axis=1), 16000)
    np.testing.assert_array_equal(both[:, 0], extender(left, 16000))
    np.testing.assert_array_equal(both[:, 1], extender(right, 16000))


def test_blocks_of_any_size_give_the_same(extender: BandwidthExtender, voice) -> None:
    x = voice[:50000, None]
    whole = np.concatenate(list(extender.stream([x], 44100)))
    for size in (997, 20000):
        blocks = (x[i : i + size] for i in range(0, len(x), size))
        # soxr's streams round block by block: float32 rounding before the network
        pieces = np.concatenate(list(extender.stream(blocks, 44100)))
        assert np.max(np.abs(pieces - whole)) < 1e-3 * np.max(np.abs(whole))


@pytest.mark.parametrize(
    ("waveform", "rate", "text"),
    [
        (np.zeros(0), 16000, "shape"),
        (np.zeros((2, 2, 2)), 16000, "shape"),
        (np.array([0.0, np.nan]), 16000, "NaN"),
        (np.zeros(100), 4000, "8000 Hz or more"),
    ],
)
def test_bad_waveforms_are_refused(extender, waveform, rate: int, text: str) -> None:
    with pytest.raises(UserError, match=text):
        extender(waveform, rate)


def test_plan_keeps_sub_folders_and_refuses_collisions(tmp_path: Path) -> None:
    for name in ("in/a/x.wav", "in/b/x.flac", "x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    out = tmp_path / "out"
    pairs = plan([tmp_path / "in"], out)
    assert [t.relative_to(out).as_posix() for _, t in pairs] == ["a/x.wav", "b/x.wav"]
    assert plan([tmp_path / "x.wav"], tmp_path / "y.flac") == [
        (tmp_path / "x.wav", tmp_path / "y.flac")
    ]
    with pytest.raises(UserError, match=r"would both become .*x\.wav"):
        plan([tmp_path / "in" / "a" / "x.wav", tmp_path / "x.wav"], out)


def test_a_folder_goes_on_past_bad_files(tmp_path: Path, corpus: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "good.flac").write_bytes(next(corpus.rglob("*.flac")).read_bytes())
    (source / "text.wav").write_text("no audio")
    soundfile.write(source / "nan.wav", np.full(100, np.nan), 16000, "FLOAT")
    command = ["extend", "--model=sinc", source, f"--output={tmp_path / 'out'}"]
    result = run_cli(*command)
    assert result.returncode == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.wav"]
    assert "text.wav: not an audio file" in result.stderr
    assert "nan.wav: sample 0 is NaN" in result.stderr
    assert "1 extended, 2 skipped" in result.stderr
    assert run_cli(*command).returncode == 2  # the output exists
    assert run_cli(*command, "--overwrite", "--strict").returncode == 2


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"name": "hifi_gan_bwe", "channels": 4, "layers": 2}, {8000: 8000, 44100: 44100}),
        (
            {"name": "ms_bwe", "input_rate": 8000, "channels": 4, "layers": 1, "n_fft": 320},
            {8000: 8000, 22050: 16000, 44100: 24000},
        ),
    ],
    ids=["hifi_gan_bwe", "ms_bwe"],
)
def test_a_system_of_many_rates_takes_an_input_as_it_is(settings: dict, rates: dict) -> None:
    """HiFi-GAN+ hears any rate below its own; the ladder begins at the step that a rate reaches."""
    system = build(settings)
    model = Model("any", system, jax.device_get(system.init(jax.random.key(0))), {})
    extend = BandwidthExtender(model, say=str)
    for rate, heard in rates.items():
        assert system.at(rate).input_rate == heard
        y = extend(0.1 * np.ones(1001, np.float32), rate)
        assert y.shape == (round(1001 * 48000 / rate),)
        assert np.isfinite(y).all()


def test_two_channels_are_extended_as_mean_and_half_difference(voice: np.ndarray) -> None:
    system = build({"name": "musichifi_bwe", "channels": 32, "kernels": (3,), "dilations": ((1,),)})
    model = Model("stereo", system, jax.device_get(system.init(jax.random.key(0))), {})
    extend = BandwidthExtender(model, say=str)
    x = voice[:8000].astype(np.float32)
    both = extend(np.stack([x, x], axis=1), 16000)
    # no difference: each channel is the mean's extension and that of silence
    alone, silence = extend(x, 16000), extend(np.zeros_like(x), 16000)
    np.testing.assert_allclose(both[:, 0], alone + silence, atol=1e-6)
    np.testing.assert_allclose(both[:, 1], alone - silence, atol=1e-6)


LOUD = (
    "ap_bwe",
    "bigvgan",
    "ms_bwe",
    "hifi_gan_bwe",
    "musichifi_bwe",
    "high_band",
    "high_band_pqmf",
)


@pytest.mark.parametrize("name", [*LOUD, "bbwexnet", "opus_bbwe", *UNNAMED])
def test_the_loudest_input_that_is_taken_gives_finite_output(name: str) -> None:
    system = build(SYSTEMS[name])
    model = Model(name, system, stirred(system.init(jax.random.key(0))), {})
    extend = BandwidthExtender(model, say=str)
    noise = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    click = np.zeros(1000, np.float32)
    click[500] = 1.0
    for x in (noise, click, np.ones(1000, np.float32)):
        assert np.isfinite(extend(MAX_LEVEL * x, 16000)).all()
    with pytest.raises(UserError, match=r"sample 500 is 3e\+38; full scale is 1"):
        extend(3e38 * click, 16000)


def test_a_stream_is_as_it_was_after_what_it_refused(voice: np.ndarray) -> None:
    system = build(SYSTEMS["opus_bbwe"])
    stream = StreamingExtender(Model("s", system, stirred(system.init(jax.random.key(0))), {}))
    one, other = voice[:1600], voice[1600:3200]
    whole = np.concatenate([stream.push(one), stream.push(other), stream.flush()])
    pieces = [stream.push(one)]
    for bad in (np.float32([0.1, 3e38]), np.float32([np.nan]), np.zeros((2, 40), np.float32)):
        with pytest.raises(UserError, match="chunk"):
            stream.push(bad)
    pieces += [stream.push(other), stream.flush()]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_integers_are_scaled_by_their_type(extender: BandwidthExtender, voice) -> None:
    levels = np.round(20000 * voice[:3000:3]).astype(np.int16)
    expected = extender((levels / 32768).astype(np.float32), 16000)
    np.testing.assert_array_equal(extender(levels, 16000), expected)
    np.testing.assert_array_equal(extender(levels.astype(np.int32) << 16, 16000), expected)
    with pytest.raises(UserError, match=r"shape \[2, 1000\]; .*\[samples, channels\]"):
        extender(np.stack([levels, levels]), 16000)
