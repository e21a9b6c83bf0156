"""Resampling, mel, PQMF and crossovers: properties beyond the golden numbers."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from codecbwe_jax.audio.crossover import fir_crossover, linkwitz_riley, stft_crossover
from codecbwe_jax.audio.mel import mel_filterbank
from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.sinc import SINC_FILTERS
from codecbwe_jax.data.lowpass import sinc_resample


def tone(hz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)[None]


def gain_db(y: np.ndarray, x: np.ndarray) -> float:
    inside = slice(len(y[0]) // 4, -len(y[0]) // 4)
    return 20 * np.log10(np.std(np.asarray(y)[0, inside]) / np.std(x))


@pytest.mark.parametrize(
    ("design", "hz", "expected"),
    # specs of the two filters at 16 -> 48 kHz
    [("torchaudio", 7000, -1.8), ("torchaudio", 7800, -5.3), ("hann24", 7400, -0.6)],
)
def test_resampler_roll_off(design: str, hz: float, expected: float) -> None:
    x = tone(hz, 16000)
    up = np.asarray(resample(x, 16000, 48000, design))
    spectrum = np.abs(np.fft.rfft(up[0] * np.hanning(len(up[0]))))
    reference = np.abs(np.fft.rfft(x[0] * np.hanning(len(x[0])))).max() * 3
    assert 20 * np.log10(spectrum.max() / reference) == pytest.approx(expected, abs=0.15)


def test_resampling_has_no_delay() -> None:
    x = np.zeros((1, 400), np.float32)
    x[0, 200] = 1.0
    assert int(np.argmax(resample(x, 16000, 48000))) == 600


@pytest.mark.parametrize("pair", [(48000, 16000), (44100, 16000), (16000, 48000)])
def test_the_host_and_the_device_resample_alike(pair: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal(1003).astype(np.float32)
    for name, design in SINC_FILTERS.items():
        host = sinc_resample(x, *pair, design)
        np.testing.assert_allclose(host, resample(x[None], *pair, name)[0], atol=2e-6)


@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000])
@pytest.mark.parametrize("n_mels", [40, 128])
def test_mel_filters_are_librosas(rate: int, n_mels: int) -> None:
    ours = mel_filterbank(rate, 1024, n_mels, 20.0, rate / 2 - 100)
    theirs = librosa.filters.mel(sr=rate, n_fft=1024, n_mels=n_mels, fmin=20.0, fmax=rate / 2 - 100)
    np.testing.assert_allclose(ours.T, theirs, atol=1e-7)  # float32 rounding of values below 0.1
    htk = librosa.filters.mel(
        sr=rate, n_fft=1024, n_mels=n_mels, fmin=20.0, fmax=rate / 2 - 100, htk=True, norm=None
    )
    scaled = mel_filterbank(rate, 1024, n_mels, 20.0, rate / 2 - 100, "htk")
    np.testing.assert_allclose(scaled.T, htk, atol=1e-5)  # float32 rounding of values up to 1


def test_kaldi_filters_are_triangles_in_mel() -> None:
    bank = mel_filterbank(16000, 512, 23, 20.0, 8000.0, "kaldi")
    mel = 1127 * np.log(1 + np.arange(257) * 16000 / 512 / 700)
    corners = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 25)
    expected = np.maximum(0, 1 - np.abs(mel[:, None] - corners[1:-1]) / np.diff(corners)[0])
    np.testing.assert_allclose(bank, expected, atol=1e-6)


@pytest.mark.parametrize(("bands", "snr"), [(2, 67.1), (3, 65.3), (4, 64.1), (8, 49.7)])
def test_pqmf_reconstructs_with_its_default_cutoff(bands: int, snr: float) -> None:
    x = np.random.default_rng(0).standard_normal((1, 48000)).astype(np.float32)
    bank = Pqmf(bands)
    y = np.asarray(bank.synthesis(bank.analysis(x)))
    inside = slice(200, 47000)
    error = np.sum((y[0, inside] - x[0, inside]) ** 2)
    assert 10 * np.log10(np.sum(x[0, inside] ** 2) / error) == pytest.approx(snr, abs=0.6)


@pytest.mark.parametrize("order", [4, 8])
def test_linkwitz_riley_halves_are_in_phase_and_sum_to_an_all_pass(order: int) -> None:
    for hz, low_db, high_db in ((1000, 0.0, -6.0), (8000, -6.0, -6.0), (20000, -6.0, 0.0)):
        x = tone(hz, 48000)
        low, high = (np.asarray(part) for part in linkwitz_riley(x, 48000, 8000, order))
        assert gain_db(low + high, x) == pytest.approx(0.0, abs=0.05)
        assert gain_db(low, x) <= low_db + 0.1
        assert gain_db(high, x) <= high_db + 0.1
    assert gain_db(linkwitz_riley(tone(8000, 48000), 48000, 8000)[0], tone(8000, 48000)) == (
        pytest.approx(-6.02, abs=0.05)
    )


def test_linkwitz_riley_is_causal() -> None:
    x = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    changed = x.copy()
    changed[0, 2000:] = 0
    for a, b in zip(linkwitz_riley(x, 48000, 8000), linkwitz_riley(changed, 48000, 8000), strict=1):
        np.testing.assert_allclose(a[0, :2000], b[0, :2000], atol=1e-6)  # FFT rounding


def test_stft_crossover_takes_each_side_from_its_signal() -> None:
    low, high = tone(2000, 48000), tone(15000, 48000)
    y = stft_crossover(low, high, 48000, 8000)
    inside = slice(2048, -2048)
    np.testing.assert_allclose(y[:, inside], (low + high)[:, inside], atol=2e-3)
    same = stft_crossover(low, low, 48000, 8000)
    np.testing.assert_allclose(same, low, atol=1e-6)


def test_fir_crossover_takes_each_side_from_its_signal() -> None:
    """60 dB apart outside of the transition, equal inputs unchanged, nothing from far away."""
    rate, cutoff = 48000, 8000
    for hz, expected in ((7400, 0.0), (8600, -60.0), (8000, -6.0)):
        x = tone(hz, rate)
        below = np.asarray(fir_crossover(x, np.zeros_like(x), rate, cutoff))
        if expected > -60:
            assert gain_db(below, x) == pytest.approx(expected, abs=0.1)
        else:
            assert gain_db(below, x) < -58  # the design's 60 dB, Kaiser's rule is approximate
    rng = np.random.default_rng(0)
    low, high = rng.standard_normal((2, 1, 3000)).astype(np.float32)
    np.testing.assert_allclose(fir_crossover(low, low, rate, cutoff), low, atol=1e-6)
    changed = low.copy()
    changed[0, 2000:] = 0.0
    same = slice(0, 2000 - 144)  # the filter's half length, 1.8 * 48000 / 600
    first, second = (fir_crossover(x, high, rate, cutoff) for x in (low, changed))
    np.testing.assert_array_equal(first[0, same], second[0, same])
    assert fir_crossover(low[:, :10], high[:, :10], rate, cutoff).shape == (1, 10)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: resample(x, 16000, 48000),
        lambda x: Pqmf(4).analysis(x),
        lambda x: linkwitz_riley(x, 48000, 8000)[1],
        lambda x: stft_crossover(x, 2 * x, 48000, 8000),
        lambda x: fir_crossover(x, 2 * x, 48000, 8000),
    ],
)
def test_gradients_are_finite_on_silence(function) -> None:
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(function(x) ** 2)))(jnp.zeros((1, 2400)))
    assert np.all(np.isfinite(gradient))
