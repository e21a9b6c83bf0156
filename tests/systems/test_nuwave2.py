"""NU-Wave 2 as a system: its bands, how it samples, what it learns from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.objectives.diffusion import Denoises
from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.systems import build, build_sampling
from codecbwe_jax.systems.nuwave2 import Nuwave2
from tests.conftest import stirred

SMALL = {
    "n_fft": 64,
    "hop_length": 16,
    "layers": 1,
    "channels": 4,
    "embedding": 8,
    "band_channels": 4,
    "position_channels": 8,
}
NETWORK = {"name": "nuwave2", **SMALL}


class Told(Nuwave2):
    """Says the noise beside a sine."""

    def estimate(self, params: Any, x: jax.Array, level: Level, condition: Any) -> jax.Array:
        return level.noise_in(x, sine(x.shape[1]))


def sine(samples: int) -> jax.Array:
    return 0.5 * jnp.sin(jnp.arange(samples)[None] / 7)


def sampled(system: Nuwave2, params: Any, x: np.ndarray, **chosen: int) -> np.ndarray:
    return np.asarray(system.extend(params, x, system.sampling(build_sampling(system, chosen))))


@pytest.mark.parametrize(("steps", "left"), [(8, 2e-3), (50, 0.08), (200, 0.02)])
def test_who_says_all_noise_arrives_at_the_signal(steps: int, left: float) -> None:
    """Eight steps end at a log-SNR of 20; Euler's error is in proportion to its steps' length."""
    y = sampled(Told(**SMALL), {}, np.zeros((1, 480), np.float32), steps=steps)
    assert y.shape == (1, 1440)
    assert np.max(np.abs(y - sine(1440))) < left


def test_the_band_is_that_of_the_rate_or_what_is_chosen() -> None:
    system = build({"name": "nuwave2"})
    rates = np.int32([8000, 16000, 44100, 48000])
    known = np.asarray(system.band(rates))
    assert known.sum(axis=1).tolist() == [85, 171, 471, 513]  # of 513, rounded down
    assert (np.diff(known.astype(int), axis=1) <= 0).all()
    small = build(NETWORK)
    params = stirred(small.init(jax.random.key(0)))
    x = 0.1 * np.random.default_rng(0).standard_normal((1, 480)).astype(np.float32)
    own = sampled(small, params, x)
    np.testing.assert_array_equal(sampled(small, params, x, band_hz=8000), own)
    assert not np.array_equal(sampled(small, params, x, band_hz=6000), own)
    assert not np.array_equal(sampled(small, params, x, seed=1), own)


def test_a_drawn_rate_says_the_band_that_is_learnt_from() -> None:
    system = build(NETWORK)
    assert isinstance(system, Denoises)
    target = np.zeros((2, 1440), np.float32)
    narrow = {"input": np.zeros((2, 480), np.float32), "target": target}
    drawn = {"upsampled": target, "source_rate": np.int32([8000, 16000]), "target": target}
    of_input, of_drawn = system.condition(narrow), system.condition(drawn)
    assert of_input["low"].shape == of_drawn["low"].shape == target.shape
    np.testing.assert_array_equal(of_input["band"][1], of_drawn["band"][1])
    assert of_drawn["band"].sum(axis=1).tolist() == [5, 11]  # of 33


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_an_input_of_any_rate_gives_its_exact_length(rate: int) -> None:
    system = build(NETWORK)
    other = system.at(rate)
    assert other.input_rate == rate
    assert other.frame % system.hop_length == 0
    model = Model("any", system, stirred(system.init(jax.random.key(0))), {})
    extend = BandwidthExtender(model.sampled({"steps": 1}), say=str)
    y = extend(0.1 * np.ones(1001, np.float32), rate)
    assert y.shape == (round(1001 * 48000 / rate),)
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    "wrong",
    [{"channels": 3}, {"input_rate": 96000}, {"n_fft": 60}, {"position_channels": 2}],
)
def test_sizes_that_do_not_fit_each_other_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        build(NETWORK | wrong)
