import multiprocessing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from codecbwe_jax.data import pipeline, recordings
from codecbwe_jax.data.lowpass import LOWPASSES
from codecbwe_jax.data.pipeline import MakePair, PairSettings, batches, read_segment
from codecbwe_jax.errors import UserError

SETTINGS = PairSettings(16000, 48000, 2400, tuple(LOWPASSES), (-6.0, 6.0), True, seed=3)


@pytest.fixture(scope="module")
def found(corpus: Path) -> list[recordings.Recording]:
    return recordings.find(corpus).recordings


def take(found, count: int, **options) -> list[dict[str, np.ndarray]]:
    stream = batches(MakePair(found, SETTINGS), 4, **options)
    taken = list(islice(stream, count))
    stream.close()
    return taken


def equal(a: list[dict], b: list[dict]) -> bool:
    return all(np.array_equal(x[k], y[k]) for x, y in zip(a, b, strict=True) for k in x)


def test_the_stream_is_the_same_for_any_number_of_workers(found) -> None:
    reference = take(found, 5)
    assert equal(reference, take(found, 5, workers=1))
    assert equal(reference, take(found, 5, workers=2))
    assert equal(reference, take(found, 5, threads=1))


def test_the_position_is_the_number_of_batches(found) -> None:
    assert equal(take(found, 7)[4:], take(found, 3, start=4))


def test_epochs_draw_other_segments(found) -> None:
    first, later = take(found, 1)[0], take(found, 4)[3]
    assert first["index"].tolist() == [0, 1, 2, 3]
    assert later["index"].tolist() == [12, 13, 14, 15]
    assert not np.array_equal(first["target"], later["target"])


def test_pairs_have_the_right_shapes_and_levels(found) -> None:
    for batch in take(found, 4):
        assert batch["target"].shape == (4, 2400)
        assert batch["input"].shape == (4, 800)
        assert batch["target"].dtype == batch["input"].dtype == np.float32
        assert np.abs(batch["target"]).max() <= 1.0
        assert np.all(batch["broken"] == -1)


def test_the_input_is_the_target_low_passed_in_its_place(found) -> None:
    for batch in take(found, 4):
        for narrow, target in zip(batch["input"], batch["target"], strict=True):
            # another filter: up to 0.4 apart, near the edge; another stretch is over 1
            expected = soxr.resample(target, 48000, 16000)
            difference = (narrow - expected)[50:-50]
            assert np.linalg.norm(difference) < 0.6 * np.linalg.norm(expected)


def test_the_gain_is_in_decibels_of_amplitude_and_nothing_clips(found) -> None:
    def target(low: float, high: float) -> np.ndarray:
        make = MakePair(found, PairSettings(48000, 48000, 2400, gain_db=(low, high)))
        return make.make(0, np.random.default_rng(0))["target"]

    np.testing.assert_allclose(target(-6.0, -6.0), 10 ** (-6 / 20) * target(0.0, 0.0), rtol=1e-5)
    assert np.abs(target(80.0, 80.0)).max() == pytest.approx(1.0)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = np.linspace(-0.5, 0.5, 48000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([left, 0.5 * left], 1), 48000, "FLOAT")
    (found,) = recordings.find(tmp_path).recordings
    np.testing.assert_allclose(read_segment(found, 48000, 48000, 0.0), 0.75 * left, atol=1e-6)


def test_a_source_rate_may_be_drawn(found) -> None:
    """The input is at the output's rate and holds what a rate of those drawn can hold."""
    settings = PairSettings(
        16000, 48000, 9600, ("kaiser16",), source_rates=(8000, 24000), upsampler="kaiser16"
    )
    batch = next(batches(MakePair(found, settings), 8))
    assert batch["upsampled"].shape == batch["target"].shape
    frequencies = np.fft.rfftfreq(9600, 1 / 48000)
    window = np.hanning(9600)

    def power(x: np.ndarray) -> np.ndarray:
        spectra = np.abs(np.fft.rfft(x * window)) ** 2
        return spectra[:, (frequencies > 5000) & (frequencies < 10000)].sum(axis=1)

    kept = power(batch["upsampled"]) / power(batch["target"])
    assert set(np.round(kept, 1)) == {0.0, 1.0}
    assert batch["source_rate"].dtype == np.int32
    np.testing.assert_array_equal(batch["source_rate"], np.where(kept > 0.5, 24000, 8000))


@pytest.mark.parametrize("name", LOWPASSES)
def test_every_lowpass_keeps_time_and_the_low_band(name: str, voice: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    target = voice[48000 : 48000 + 9601]
    narrow = LOWPASSES[name](target, 48000, 16000, rng)
    assert narrow.shape == (3201,)
    frequencies = np.fft.rfftfreq(9601, 1 / 48000)
    spectrum = np.where(frequencies < 4000, np.fft.rfft(target), 0)
    low = np.fft.irfft(spectrum, 9601)[::3]
    spectrum = np.where(np.fft.rfftfreq(3201, 1 / 16000) < 4000, np.fft.rfft(narrow), 0)
    ours = np.fft.irfft(spectrum, 3201)
    inside = slice(300, -300)
    error = np.sum((ours[inside] - low[inside]) ** 2) / np.sum(low[inside] ** 2)
    # 1.5 dB of passband ripple at most, and no delay: one sample of it would give 0.05
    assert error < 0.03


def test_a_broken_file_is_replaced_named_and_counted(corpus: Path, tmp_path: Path) -> None:
    good = recordings.find(corpus).recordings
    whole = good[0].path.read_bytes()
    cut = tmp_path / "cut.flac"
    cut.write_bytes(whole[: len(whole) // 2])
    mixed = [*good[:2], recordings.find(tmp_path).recordings[0]]
    settings = PairSettings(16000, 48000, 40000, seed=1)
    stream = batches(MakePair(mixed, settings), 6)
    batch = next(stream)
    stream.close()
    assert set(batch["broken"]) <= {-1, 2}
    again = next(batches(MakePair(mixed, settings), 6, workers=1))
    assert np.array_equal(batch["target"], again["target"])
    many = [b for _, b in zip(range(6), batches(MakePair(mixed, settings), 6), strict=False)]
    assert any(2 in b["broken"] for b in many)


def test_segments_are_read_at_any_rate(tmp_path: Path) -> None:
    t = np.arange(44100) / 44100
    soundfile.write(tmp_path / "tone.wav", np.sin(2 * np.pi * 1000 * t).astype(np.float32), 44100)
    recording = recordings.find(tmp_path).recordings[0]
    for position in (0.0, 0.37, 1.0):
        x = read_segment(recording, 48000, 9600, position)
        peak = np.argmax(np.abs(np.fft.rfft(x))) * 48000 / 9600
        assert peak == 1000
        assert np.abs(x[100:-100]).max() > 0.95
    short = read_segment(recording, 48000, 60000, 0.0)
    assert np.all(short[48100:] == 0)
    assert np.abs(short[47000:47900]).max() > 0.9


def test_speakers_are_balanced(found) -> None:
    unequal = [r for r in found if r.speaker == "voice_00"] + [
        next(r for r in found if r.speaker == s) for s in ("voice_01", "voice_02")
    ]
    pairs = MakePair(unequal, SETTINGS)
    chosen = [pairs.choose(0, np.random.default_rng(i)) for i in range(600)]
    counts = np.bincount(chosen, minlength=5)
    assert abs(counts[:3].sum() - 200) < 50
    assert abs(counts[3] - 200) < 50


def test_the_fingerprint_sees_what_gives_an_index_its_meaning(found) -> None:
    base = pipeline.fingerprint(found, SETTINGS, 4)
    assert base == pipeline.fingerprint(list(found), SETTINGS, 4)
    assert base != pipeline.fingerprint(found[:-1], SETTINGS, 4)
    assert base != pipeline.fingerprint(found[::-1], SETTINGS, 4)
    assert base != pipeline.fingerprint(found, SETTINGS, 8)


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(UserError, match="known: torchaudio, hann24"):
        PairSettings(16000, 48000, 2400, ("fir",))


def test_a_killed_worker_is_replaced_and_no_sample_changes(found) -> None:
    reference = take(found, 8)
    said: list[str] = []
    stream = batches(MakePair(found, SETTINGS), 4, workers=1, say=said.append)
    try:
        taken = [next(stream) for _ in range(2)]
        for worker in multiprocessing.active_children():
            worker.kill()
        taken += [next(stream) for _ in range(6)]
    finally:
        stream.close()
    assert equal(reference, taken)
    assert said == ["data: a worker process was killed (1 of at most 10 times)"]


def test_a_stretch_of_another_rate_begins_where_it_should(tmp_path: Path) -> None:
    """A tone has the phase of its place in the file, behind the resampler's margin too."""
    rate, hertz = 44100, 440.0
    tone = np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate)
    soundfile.write(tmp_path / "tone.wav", tone, rate, "FLOAT")
    (found,) = recordings.find(tmp_path).recordings
    stretch = pipeline.read_segment(found, 48000, 4800, 0.5)
    first = int(0.5 * (2 * rate - 4410 + 1))
    expected = np.sin(2 * np.pi * hertz * (first / rate + np.arange(4800) / 48000))
    # the margin begins at whole samples of the file, half of one of the stretch's beside it at most
    assert np.abs(stretch - expected).max() < 2 * np.pi * hertz / 48000
