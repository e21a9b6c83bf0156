"""The high-band residual keeps the low band, whatever the network gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from codecbwe_jax.audio.crossover import high_pass
from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.stft import istft, stft
from codecbwe_jax.errors import UserError
from codecbwe_jax.systems.high_band import HOPS, PQMF_TAPS, RESAMPLER, HighBand

SMALL = {"size": 16, "intermediate": 32, "layers": 1}
RATES = [(16000, 32000), (16000, 48000), (24000, 48000)]
FORMS = [(*rates, form) for rates in RATES for form in ("stft", "pqmf")]


def decibels(power: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(np.square(power, dtype=np.float64)) + 1e-300))


@pytest.mark.parametrize(("narrow", "wide", "form"), FORMS)
def test_the_low_band_is_kept(narrow: int, wide: int, form: str) -> None:
    """A network at full scale adds nothing below 7 kHz of 8: the difference to the interpolated
    input, low-passed there, is 85 dB below the added band."""
    system = HighBand(narrow, wide, form, **SMALL)
    rng = np.random.default_rng(0)
    heads, bins = system.network.heads, system.network.bins
    outputs = np.concatenate(
        [rng.uniform(0, 4, (1, 401, heads, bins)), rng.uniform(-9, 9, (1, 401, heads, bins))], -1
    )
    added = np.asarray(system.synthesise(outputs.astype(np.float32)))[0]
    # 221 Hz from pass to stop at 48 kHz: nothing above the stop gets through
    stop, _ = system.high_pass_hz
    low = scipy.signal.firwin(2001, stop - 110, window=("kaiser", 14), fs=wide)
    below = scipy.signal.fftconvolve(added.astype(np.float64), low, "same")
    assert decibels(below[4000:-4000]) - decibels(added) <= -85


@pytest.mark.parametrize(("narrow", "wide", "form"), FORMS)
def test_nothing_added_is_the_interpolated_input_bit_for_bit(
    narrow: int, wide: int, form: str
) -> None:
    system = HighBand(narrow, wide, form, gain=0.0, **SMALL)
    params = system.init(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((1, 4003)).astype(np.float32)
    y = system.extend(params, x)
    assert y.shape == (1, 4003 * wide // narrow)
    np.testing.assert_array_equal(y, system.interpolate(x))


def test_what_is_above_the_band_that_is_seen_changes_nothing() -> None:
    """A filter that leaves something at 7.6 kHz, or nothing, makes no other upper band."""
    system = HighBand(output_rate=48000, seen=0.85, **SMALL)
    params = system.init(jax.random.key(0))
    seconds = np.arange(8000) / 16000
    low = 0.1 * np.sin(2 * np.pi * 700 * seconds).astype(np.float32)[None]
    edge = 0.1 * np.sin(2 * np.pi * 7600 * seconds).astype(np.float32)[None]
    one, other = (np.asarray(system.residual(params, x)) for x in (low, low + edge))
    inside = slice(1600, -1600)  # a Hann window leaks from where a tone begins and ends
    assert decibels((one - other)[:, inside]) - decibels(one[:, inside]) < -60
    everything = HighBand(output_rate=48000, **SMALL)
    params = everything.init(jax.random.key(0))
    one, other = (np.asarray(everything.residual(params, x)) for x in (low, low + edge))
    assert decibels((one - other)[:, inside]) - decibels(one[:, inside]) > -20


@pytest.mark.parametrize("wide", [24000, 32000])
def test_a_ratio_that_is_not_whole_is_refused(wide: int) -> None:
    with pytest.raises(UserError, match=f"output_rate {wide} is not twice, .* input_rate 24000"):
        HighBand(24000, wide)


def test_the_input_comes_back() -> None:
    """Brought back to 16 kHz, the output is the interpolated input to 90 dB, a residual of 20 dB
    less power beside it."""
    system = HighBand(output_rate=48000, **SMALL)
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal((1, 16000)).astype(np.float32)
    x = np.asarray(resample(resample(x, 16000, 8000), 8000, 16000))  # speech-like: no top octave
    kept = np.asarray(system.interpolate(x))
    bins = system.network.bins
    outputs = np.concatenate(
        [rng.uniform(0, 1, (1, 201, 1, bins)), rng.uniform(-9, 9, (1, 201, 1, bins))], -1
    )
    added = np.asarray(system.synthesise(outputs.astype(np.float32)))
    added = added * 10 ** ((decibels(kept) - 20 - decibels(added)) / 20)
    first, second = (
        np.asarray(resample(w, 48000, 16000))[0, 400:-400] for w in (kept, kept + added)
    )
    # what the resampler itself folds down from above 8 kHz is not the system's to keep away
    low = scipy.signal.firwin(801, 6800, window=("kaiser", 14), fs=16000)
    error = scipy.signal.fftconvolve((second - first).astype(np.float64), low, "valid")
    assert decibels(first) - decibels(error) >= 90


def seam(system: HighBand) -> np.ndarray:
    """How much of each frequency a perfect residual of this synthesis could restore.

    Returns:
      float64 `[3]`: response in dB at 7.2-7.6, 7.6-8.0 and 8.0-8.4 kHz to white noise of which the
      residual is exactly what the interpolation lacks, in the bins or bands that it has.
    """
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((1, 4 * system.output_rate)).astype(np.float32)
    low = resample(truth, system.output_rate, system.input_rate, RESAMPLER)
    kept = np.asarray(system.interpolate(low))
    missing = truth - kept
    if system.synthesis == "stft":
        n_fft = system.window * system.ratio
        z = stft(missing, n_fft, n_fft // HOPS)
        z = jnp.where(jnp.arange(z.shape[-1]) >= system.first_bin, z, 0)
        added = istft(z, n_fft, n_fft // HOPS)
    else:
        bank = Pqmf(system.ratio, PQMF_TAPS)
        bands = bank.analysis(missing)
        bands = bands.at[..., 0].set(0)
        added = high_pass(bank.synthesis(bands), system.output_rate, *system.high_pass_hz)
    length = min(added.shape[1], truth.shape[1])
    both = [
        np.fft.rfft(x[0, :length])
        for x in (kept[:, :length] + np.asarray(added)[:, :length], truth)
    ]
    frequencies = np.fft.rfftfreq(length, 1 / system.output_rate)
    edges = ((7200, 7600), (7600, 8000), (8000, 8400))
    figures = []
    for begin, end in edges:
        inside = (frequencies >= begin) & (frequencies < end)
        figures.append(
            10
            * np.log10(np.sum(np.abs(both[0][inside]) ** 2) / np.sum(np.abs(both[1][inside]) ** 2))
        )
    return np.array(figures)


def test_the_seam_is_filled() -> None:
    """From 7.4 kHz up the spectrum's residual fills what the interpolation rolls off; the filter
    bank's cannot, and leaves what its docstring says."""
    filled = seam(HighBand(output_rate=48000, **SMALL))
    assert np.all(filled[1:] > -0.5)
    assert filled[0] > -1.5
    left = seam(HighBand(output_rate=48000, synthesis="pqmf", **SMALL))
    assert -9 < left[1] < -5
