"""UniverSR as a system: what it keeps, what it draws, at which rates."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soxr

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.systems import build
from tests.conftest import stirred

MICRO = {
    "name": "universr",
    "dims": (4,),
    "depths": (1,),
    "time_size": 4,
    "condition_size": 4,
    "condition_layers": 1,
}
ALIGNED = {"n_fft": 960, "hop_length": 480, "known": (80, 120, 160, 240)}


def random_model(**settings: Any) -> Model:
    system = build({**MICRO, **settings})
    model = Model("micro", system, stirred(system.init(jax.random.key(0))), {})
    return model.sampled({"steps": 1, "solver": "euler"})


def noisy(samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(samples).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model()


@pytest.fixture(scope="module")
def extended(model: Model) -> np.ndarray:
    """Of two chunks and some more."""
    return BandwidthExtender(model, say=str)(noisy(16000 * 8 + 123), 16000)


def test_what_was_heard_stays_and_what_was_not_is_made(extended: np.ndarray) -> None:
    narrow = noisy(16000 * 8 + 123)
    assert len(extended) == 3 * len(narrow)
    wide = soxr.resample(narrow, 16000, 48000)
    window = np.hanning(len(wide))  # what is made does not leak into what is kept
    ours, theirs = (np.fft.rfft(window * x) for x in (extended, wide))
    hertz = np.fft.rfftfreq(len(wide), 1 / 48000)
    kept = hertz < 7000
    # -60 dB seen: powers of a fifth and five in float32, and the offset that silence is given
    assert np.linalg.norm((ours - theirs)[kept]) < 2e-3 * np.linalg.norm(theirs[kept])
    made = hertz > 9000
    assert np.linalg.norm(ours[made]) > 10 * np.linalg.norm(theirs[made])


def test_the_level_of_a_clip_goes_through(model: Model, extended: np.ndarray) -> None:
    quiet = BandwidthExtender(model, say=str)(0.125 * noisy(16000 * 8 + 123), 16000)
    np.testing.assert_allclose(8 * quiet, extended, atol=1e-5 * np.abs(extended).max())


def test_a_seed_is_a_result(model: Model, extended: np.ndarray) -> None:
    wave = noisy(16000 * 8 + 123)
    again = BandwidthExtender(model, say=str)(wave, 16000)
    np.testing.assert_array_equal(again, extended)
    other = BandwidthExtender(model.sampled({"seed": 1}), say=str)(wave, 16000)
    assert np.abs(other - extended).max() > 1e-3


@pytest.mark.parametrize(("rate", "taken"), [(8000, 8000), (11025, 8000), (44100, 24000)])
def test_it_takes_the_highest_rate_that_it_knows(model: Model, rate: int, taken: int) -> None:
    system = model.system.at(rate)
    assert system.input_rate == taken
    whole = BandwidthExtender(model, say=str)(noisy(rate), rate)
    assert len(whole) == 48000
    assert np.isfinite(whole).all()


def test_frames_of_the_codec() -> None:
    system = build({**MICRO, **ALIGNED})
    # two for each of 50 tokens, each of whole input samples
    assert system.alignment == 160
    assert system.noise_shape == (1, 400, 2)
    assert build(MICRO).noise_shape[0] == 3  # 512 samples are a third of whole input samples


def test_what_it_learns_is_the_truth_above_what_it_hears() -> None:
    """Of a true signal the clean bins are what its spectrum has where the generated ones stand."""
    system = build({**MICRO, **ALIGNED})
    target = jnp.asarray(noisy(30719))[None]
    narrow = jnp.asarray(soxr.resample(np.asarray(target[0]), 48000, 16000))[None]
    clean = system.clean({"input": narrow, "target": target})
    level = float(jnp.max(jnp.abs(narrow))) / 10 ** (-3.5 / 20)
    spectrum = system.spectrum.analyse(target / level)
    assert clean.shape == (1, 64, 400, 2)
    # the direction of a bin that is next to empty is decided by rounding: 1.5e-5 seen
    np.testing.assert_allclose(clean, spectrum[:, :, 80:], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"input_rate": 44100}, "input_rate 44100: there are 8000, 12000, 16000, 24000"),
        ({"known": (80, 128)}, "4 rising numbers"),
        ({"depths": (1, 1)}, "not of one length"),
        ({"n_fft": 256, "hop_length": 128}, "a spectrum has 128 bins"),
    ],
)
def test_what_does_not_fit_is_one_line(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        build({**MICRO, **wrong})


def test_guidance_leads_away_from_what_is_said_without_a_condition(model: Model) -> None:
    """Guidance 0 says what is said of nothing: the same, whatever was heard."""
    wave = jnp.asarray(np.stack([noisy(48000), 1e-3 * noisy(48000)]))
    system = model.system
    params = jax.tree.map(lambda x: 4 * x, model.params)  # what is heard goes through many layers
    known = system.heard(system.upsample(wave))[:, :64]
    sampling = system.sampling(
        dataclasses.replace(model.sampling, guidance=0.0), survey={"peak": np.ones(1, np.float32)}
    )
    twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), sampling)
    first, second = system.sample(params, known, twice)
    np.testing.assert_allclose(first, second, atol=1e-5)
    told = dataclasses.replace(twice, settings=model.sampling)
    first, second = system.sample(params, known, told)
    assert jnp.max(jnp.abs(first - second)) > 1e-3
