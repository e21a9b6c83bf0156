"""The frozen codec on files: lengths, windows, token files, and what is refused."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.inference.tokens import TokenFile
from tests.conftest import random_codec, run_cli


@pytest.fixture(scope="module")
def codec(codec_folder: Path) -> FrozenCodec:
    return FrozenCodec.load(codec_folder, window_seconds=4.0, batch_size=3)


@pytest.fixture(scope="module")
def wave16(voice: np.ndarray) -> np.ndarray:
    import soxr

    return soxr.resample(np.tile(voice, 4), 48000, 16000)


def test_a_batch_gives_what_each_gives_alone(codec: FrozenCodec, wave16: np.ndarray) -> None:
    waves = [wave16[:n] for n in (1, 319, 320, 5000, 16001, 30000, 70000)]
    together = codec.encode_all(waves)
    network, params = codec.system.network, {"params": codec.model.params}
    encode = jax.jit(functools.partial(network.apply, method="encode"))
    for wave, tokens in zip(waves, together, strict=True):
        assert len(tokens) == len(wave) // 320 + 1
        np.testing.assert_array_equal(codec.encode(wave), tokens)
        if len(wave) in (1, 320, 30000):  # one window: what the reference gives for the whole
            whole = encode(params, codec.system.pad(wave[None]))[0]
            np.testing.assert_array_equal(tokens, whole)
    audio = codec.decode_all(together)
    for tokens, one in zip(together, audio, strict=True):
        assert len(one) == 320 * len(tokens)
        np.testing.assert_allclose(codec.decode(tokens), one, atol=1e-5 * np.abs(one).max())


def test_integers_are_scaled_and_other_arrays_refused(
    codec: FrozenCodec, wave16: np.ndarray
) -> None:
    levels = np.round(wave16[:8000] * 32768).astype(np.int16)
    np.testing.assert_array_equal(codec.encode(levels), codec.encode(levels / np.float32(32768)))
    with pytest.raises(UserError, match=r"shape \[2, 800\]; \[samples\], one channel"):
        codec.encode(np.zeros((2, 800), np.float32))
    with pytest.raises(UserError, match="sample 3 is NaN or infinite"):
        codec.encode(np.float32([0, 0, 0, np.nan]))


def test_long_waveforms_are_cut_into_overlapping_windows(
    codec: FrozenCodec, wave16: np.ndarray
) -> None:
    """Every token comes from a window that has a second of context on its both sides."""
    for tokens in (1, 199, 200, 201, 300, 301, 777):
        plan = codec._windows.plan(tokens)
        covered = [t for _, _, begin, end in plan for t in range(begin, end)]
        assert covered == list(range(tokens))
        for first, size, begin, end in plan:
            assert 0 <= first <= first + size <= tokens
            assert begin == 0 or begin - first >= 50
            assert end == tokens or first + size - end >= 50
    first_window = codec.encode(wave16[: 200 * 320 - 1])
    np.testing.assert_array_equal(codec.encode(wave16)[:100], first_window[:100])


@pytest.mark.parametrize("length", [1, 159, 160, 321, 16000, 16333])
def test_decoded_length_is_exact(codec: FrozenCodec, wave16: np.ndarray, length: int) -> None:
    tokens = codec.encode(wave16[:length])
    assert codec.decode(tokens, length).shape == (length,)
    assert codec.latents(tokens).shape == (len(tokens), 96)


def test_bad_input_is_one_line(codec: FrozenCodec, trained: Path) -> None:
    for bad, text in (
        (np.zeros((2, 8)), "waveform has shape"),
        (np.zeros(0), "waveform has shape"),
        (np.array([0.0, np.nan]), "NaN"),
    ):
        with pytest.raises(UserError, match=text):
            codec.encode(bad)
    with pytest.raises(UserError, match="token 65536 is not in the codebook of 65536"):
        codec.decode(np.array([3, 65536]))
    with pytest.raises(UserError, match="integers"):
        codec.decode(np.array([0.5]))
    with pytest.raises(UserError, match="is a HighBand, not a codec"):
        FrozenCodec.load(trained)


def test_content_hash_names_weights_and_settings_not_the_compute_type(codec_folder: Path) -> None:
    model = load_model(codec_folder)
    name = FrozenCodec(model).content_hash
    assert FrozenCodec.load(codec_folder, "bfloat16").content_hash == name
    params = dict(model.params) | {"fc_encoder": {"bias": 1 + model.params["fc_encoder"]["bias"]}}
    params["fc_encoder"]["kernel"] = model.params["fc_encoder"]["kernel"]
    assert FrozenCodec(dataclasses.replace(model, params=params)).content_hash != name


def test_commands(codec_folder: Path, corpus: Path, tmp_path: Path) -> None:
    """Audio files to tokens and back, with the length of the source, mono and stereo."""
    source = tmp_path / "in"
    source.mkdir()
    mono, rate = soundfile.read(next(corpus.rglob("*.flac")), dtype="float32")
    soundfile.write(source / "mono.flac", mono, rate)
    soundfile.write(source / "stereo.wav", np.stack([mono[:30001], mono[-30001:]], 1), rate)
    (source / "text.wav").write_text("no audio")
    result = run_cli("encode", f"--codec={codec_folder}", source, f"--output={tmp_path / 'codes'}")
    assert result.returncode == 0, result.stderr
    assert "text.wav" in result.stderr
    stored = TokenFile.read(tmp_path / "codes" / "stereo.tokens")
    assert (stored.rate, stored.samples) == (48000, 30001)
    assert stored.tokens.shape == (2, 32)
    size = (tmp_path / "codes" / "mono.tokens").stat()
    assert size.st_size < 500  # 2 bytes a token
    assert size.st_mode == (source / "text.wav").stat().st_mode

    command = ("decode", f"--codec={codec_folder}", tmp_path / "codes", f"--output={tmp_path}/out")
    result = run_cli(*command)
    assert result.returncode == 0, result.stderr
    info = soundfile.info(tmp_path / "out" / "stereo.wav")
    assert (info.samplerate, info.channels, info.frames) == (16000, 2, round(30001 / 3))

    again = run_cli(*command)
    assert (again.returncode, "--overwrite" in again.stderr) == (2, True)
    dataclasses.replace(stored, codec="another", codebook="its own").write(
        tmp_path / "other.tokens"
    )
    result = run_cli(
        "decode", f"--codec={codec_folder}", tmp_path / "other.tokens", f"--output={tmp_path}/o"
    )
    assert result.returncode == 2
    assert "made by the codec another" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_codec_is_evaluated_by_what_it_reconstructs(
    codec_folder: Path, corpus: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    result = run_cli(
        "evaluate", f"--model={codec_folder}", f"--data={corpus}", f"--report={report}", "--clips=1"
    )
    assert result.returncode == 0, result.stderr
    scores = json.loads((report / "scores.json").read_text())
    figures = scores["models"]["micro"]
    assert {"lsd", "snr", "si_sdr", "rumble"} <= figures.keys()
    assert "lsd_high" not in figures
    assert figures["si_sdr"] < 0  # random weights


def test_a_codec_stands_in_front_of_what_is_evaluated(
    codec_folder: Path, corpus: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    result = run_cli(
        "evaluate", f"--codec={codec_folder}", "--model=sinc", f"--data={corpus}",
        f"--report={report}", "--clips=1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    codec = FrozenCodec.load(codec_folder)
    assert json.loads((report / "scores.json").read_text())["codec"] == codec.content_hash
    target, rate = soundfile.read(report / "clips/00_target.flac", dtype="float32")
    heard, heard_rate = soundfile.read(report / "clips/00_input.flac", dtype="float32")
    assert heard_rate == 16000
    # the written clips have 24 bits
    np.testing.assert_allclose(heard, codec.reconstruct(target, rate).clip(-1, 1), atol=2**-20)
    assert np.abs(heard).max() > 0.01


@pytest.mark.parametrize(
    "settings", [{"family": "neucodec"}, {"pooling": 2, "output_rate": 24000}], ids=str
)
def test_lengths_at_which_tokens_begin_and_windows_end(settings: dict) -> None:
    codec = FrozenCodec(Model("micro", *random_codec(**settings), {}), window_seconds=3.0)
    window = codec.system.window(codec._windows.length)
    rng = np.random.default_rng(0)
    for length in (1, 319, 320, 640, *range(window - 320, window + 640, 160)):
        tokens = codec.encode(0.1 * rng.standard_normal(length, np.float32))
        assert (tokens.dtype, len(tokens)) == (np.int32, codec.system.tokens(length))
        assert len(codec.decode(tokens, length)) == round(1.5 * length)
