"""DDIM and DPM-Solver++ on normal distributions."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.solvers.ddim import ddim, fresh_share
from codecbwe_jax.solvers.dpm_solver import dpm_solver_2m
from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.systems.sampling import Sampling, SamplingSettings
from tests.solvers.convergence import order
from tests.solvers.gaussian import circle, denoiser, flowed, one

SAMPLERS = {"ddim": (ddim, 1), "dpm_solver_2m": (dpm_solver_2m, 2)}
STARTS = jnp.array([[-1.3, 0.2], [0.9, 2.1]])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("last", [0.0, 0.3], ids=["clean", "noisy"])
def test_a_point_is_found_at_once(sampler: str, last: float) -> None:
    """With one clean signal in the world the noise is known, and any number of steps is exact."""
    for steps in (1, 2, 3, 7):
        levels = circle(steps, last=last)
        end = SAMPLERS[sampler][0](denoiser(0.0), STARTS, levels)
        true = flowed(STARTS, 0.0, one(levels, 0), one(levels, -1))
        np.testing.assert_allclose(end, true, atol=2e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_error_falls_with_the_order(sampler: str) -> None:
    solver, expected = SAMPLERS[sampler]
    with jax.enable_x64():
        starts = jnp.asarray(STARTS, jnp.float64)

        def error(steps: int) -> float:
            levels = circle(steps, last=0.2)
            true = flowed(starts, 0.6, one(levels, 0), one(levels, -1))
            return jnp.max(jnp.abs(solver(denoiser(0.6), starts, levels) - true))

        assert order(error, 128) == pytest.approx(expected, abs=0.1)


def test_dpm_solver_is_the_paper_s_algorithm() -> None:
    """Its formulas in half log-SNRs, as a loop, on levels that are not evenly spaced."""
    levels = Level.of_log_snr(np.arange(6), np.array([-6.0, -2.0, -1.5, 1.0, 4.0, 5.0]))
    half = np.log(levels.alpha) - np.log(levels.sigma)
    denoise, x, before = denoiser(0.6), STARTS, None
    for i in range(5):
        clean, h = denoise(x, one(levels, i)), half[i + 1] - half[i]
        ahead = clean
        if 0 < i < 4:
            ratio = (half[i] - half[i - 1]) / h
            ahead = (1 + 1 / (2 * ratio)) * clean - 1 / (2 * ratio) * before
        kept = levels.sigma[i + 1] / levels.sigma[i]
        x, before = kept * x - levels.alpha[i + 1] * np.expm1(-h) * ahead, clean
    np.testing.assert_allclose(dpm_solver_2m(denoise, STARTS, levels), x, rtol=1e-5)


def test_pure_noise_to_clean() -> None:
    """A first level without a signal and a last one without noise are finite for both."""
    levels = Level.of_alpha_bar(np.arange(4), np.array([0.0, 0.2, 0.8, 1.0]))
    for solver, _ in SAMPLERS.values():
        assert np.all(np.isfinite(solver(denoiser(0.6), STARTS, levels)))


def test_ddim_is_its_steps() -> None:
    levels = circle(4)
    x = STARTS
    for i in range(4):
        x = ddim(denoiser(0.6), x, Level(*(values[i : i + 2] for values in levels)))
    np.testing.assert_allclose(ddim(denoiser(0.6), STARTS, levels), x, rtol=1e-6)


def test_ddim_is_euler_s_method_where_the_signal_is_not_scaled() -> None:
    """`dx/dsigma = noise` (Karras et al. 2022, eq. 3); of sigmas that are each item's own."""
    sigmas = np.array([[8.0, 5.0], [3.0, 1.0], [0.5, 0.1]], np.float32)
    denoise, x = denoiser(0.6), STARTS
    for now, then in itertools.pairwise(sigmas):
        level = Level(now, np.ones(2), now)
        x = x + (then - now)[:, None] * level.noise_in(x, denoise(x, level))
    end = ddim(denoise, STARTS, Level(sigmas, np.ones_like(sigmas), sigmas))
    np.testing.assert_allclose(end, x, rtol=1e-5)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_has_its_variance(eta: float) -> None:
    """Each step adds `eta^2` of what a DDPM's posterior has, `(1 - a') / (1 - a) * (1 - a / a')`
    with a the squares of alpha, and takes as much of the old."""
    alpha_bar, draws = np.array([0.1, 0.4, 0.8]), jnp.array([3.0, 5.0])
    levels, denoise, x = Level.of_alpha_bar(np.arange(3), alpha_bar), denoiser(0.6), STARTS
    for i, (a, then) in enumerate(itertools.pairwise(alpha_bar)):
        variance = eta**2 * (1 - then) / (1 - a) * (1 - a / then)
        clean = denoise(x, one(levels, i))
        old = (x - np.sqrt(a) * clean) / np.sqrt(1 - a)
        x = np.sqrt(then) * clean + np.sqrt(1 - then - variance) * old
        x += np.sqrt(variance) * draws[i]
    end = ddim(denoise, STARTS, levels, eta, lambda number: jnp.full(STARTS.shape, draws[number]))
    np.testing.assert_allclose(end, x, rtol=1e-5)


def test_samples_are_distributed_as_they_should() -> None:
    """The ancestral sampler of a point keeps every level's variance: that of its last."""
    levels, count = circle(5, last=0.5), 20000
    keys = jax.random.split(jax.random.key(0), 6)
    start = one(levels, 0).mix(jnp.full(count, 0.7), jax.random.normal(keys[5], (count,)))

    def noise(number: jax.Array) -> jax.Array:
        return jax.random.normal(keys[number], (count,))

    end = ddim(denoiser(0.0), start, levels, 1.0, noise)
    assert np.mean(end) == pytest.approx(0.7 * np.cos(0.5), abs=0.015)  # 4 standard errors
    assert np.std(end) == pytest.approx(np.sin(0.5), rel=0.02)


def test_ancestral_share_is_all_where_the_step_ends_clean_or_begins_with_noise() -> None:
    ends = Level(0, jnp.array([1.0, 0.6]), jnp.array([0.0, 0.8]))
    begins = Level(0, jnp.array([0.6, 0.0]), jnp.array([0.8, 1.0]))
    np.testing.assert_array_equal(fresh_share(begins, ends), [1.0, 1.0])


def test_eta_asks_for_noise() -> None:
    with pytest.raises(ValueError, match="none is given"):
        ddim(denoiser(0.6), STARTS, circle(2), 1.0)


def test_a_piece_draws_what_the_whole_does() -> None:
    """Noise of keys that a step's number is folded into, and of the frame's place."""
    levels = circle(3)

    def sample(first_frame: int, frames: int) -> jax.Array:
        whole = Sampling(jax.random.key(5)[None], jnp.int32([first_frame]), SamplingSettings())

        def noise(number: jax.Array) -> jax.Array:
            return whole.at_step(number).noise(frames, 3)

        return ddim(denoiser(0.6), whole.noise(frames, 3), levels, 1.0, noise)

    np.testing.assert_allclose(sample(0, 12)[:, 5:9], sample(5, 4), rtol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gradient(sampler: str) -> None:
    """Of an affine sampler it is the difference that a unit makes."""
    solver = SAMPLERS[sampler][0]

    def end(shift: jax.Array) -> jax.Array:
        return jnp.sum(solver(denoiser(0.6), STARTS + shift, circle(4)))

    assert jax.jit(jax.grad(end))(0.0) == pytest.approx(end(1.0) - end(0.0), rel=1e-4)
