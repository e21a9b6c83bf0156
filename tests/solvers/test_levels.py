"""Noise levels, schedules and guidance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.solvers.guidance import guided
from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.solvers.schedules import (
    cosine_alpha_bar,
    cosine_log_snr,
    karras_sigmas,
    leading_steps,
    middles,
    trailing_steps,
)


def test_every_estimate_says_the_same() -> None:
    clean, noise = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    level = Level.of_log_snr(jnp.arange(3), jnp.array([-4.0, 0.5, 6.0]))
    x = level.mix(clean, noise)
    alpha, sigma = level.alpha[:, None, None], level.sigma[:, None, None]
    np.testing.assert_allclose(level.clean_of_noise(x, noise), clean, atol=1e-5)
    velocity = alpha * noise - sigma * clean
    np.testing.assert_allclose(level.clean_of_velocity(x, velocity), clean, atol=1e-5)
    np.testing.assert_allclose(level.noise_in(x, clean), noise, atol=1e-5)


def test_a_log_snr_is_what_the_level_has() -> None:
    log_snr = np.linspace(-20, 20, 9)
    level = Level.of_log_snr(log_snr, log_snr)
    np.testing.assert_allclose(2 * jnp.log(level.alpha / level.sigma), log_snr, atol=1e-5)
    np.testing.assert_allclose(level.alpha**2 + level.sigma**2, np.ones(9), rtol=1e-6)


def test_a_table_keeps_the_noise_of_its_first_step() -> None:
    """It is `sin(b - a) sin(b + a) / cos(a)^2` of the first two angles; float32 would have lost
    three digits of `1 - alpha^2`."""
    level = Level.of_alpha_bar(np.arange(1000), cosine_alpha_bar())
    a, b = (np.array([0, 1e-3]) + 0.008) / 1.008 * np.pi / 2
    first = np.sin(b - a) * np.sin(b + a) / np.cos(a) ** 2
    assert level.sigma[0] == pytest.approx(np.sqrt(first), rel=1e-6)


def test_cosine_schedules_run_from_clean_to_noise() -> None:
    whole, cut = cosine_alpha_bar(), cosine_alpha_bar(largest_beta=0.999)
    assert np.all(np.diff(whole) < 0)
    assert whole[-1] == pytest.approx(0, abs=1e-30)
    np.testing.assert_array_equal(whole[:-1], cut[:-1])
    assert cut[-1] == pytest.approx(cut[-2] * 1e-3)
    # half of the way: the cosine of the middle's angle, over that of the first
    angles = (np.array([0.5, 0.0]) + 0.008) / 1.008 * np.pi / 2
    assert whole[499] == pytest.approx(np.divide(*np.cos(angles) ** 2))
    log_snr = cosine_log_snr(jnp.array([0.0, 0.5, 1.0]))
    # near a right angle float32 knows the tangent to a third of a per cent
    np.testing.assert_allclose(log_snr, [20, 0, -20], atol=1e-2)


def test_grids() -> None:
    np.testing.assert_array_equal(leading_steps(4), [751, 501, 251, 1])
    assert leading_steps(50)[0] == 981
    np.testing.assert_array_equal(leading_steps(3, 10), [10, 7, 4, 1])  # 3 does not divide 10
    np.testing.assert_array_equal(trailing_steps(4), [999, 749, 499, 249])
    np.testing.assert_array_equal(trailing_steps(1), [999])
    np.testing.assert_allclose(middles(4), [0.875, 0.625, 0.375, 0.125, -0.125])
    sigmas = karras_sigmas(50, 0.002, 80)
    np.testing.assert_allclose(sigmas[[0, 1, 2, -1]], [80, 71.501, 63.788, 0.002], rtol=1e-5)


def test_guidance() -> None:
    def conditional(x: jax.Array, t: float) -> jax.Array:
        return 2 * x + t

    def unconditional(x: jax.Array, t: float) -> jax.Array:
        return x - t

    x = jnp.array([[1.0], [2.0]])
    np.testing.assert_allclose(guided(conditional, unconditional, 3.5)(x, 1.0), [[10.5], [15.0]])
    assert guided(conditional, unconditional, 1) is conditional
    scales = jnp.array([[0.0], [1.0]])
    np.testing.assert_allclose(guided(conditional, unconditional, scales)(x, 1.0), [[0.0], [5.0]])
