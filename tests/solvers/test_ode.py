"""Runge-Kutta methods against equations whose solutions are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.solvers.ode import METHODS, solve
from codecbwe_jax.solvers.probability_flow import probability_flow
from tests.solvers.convergence import order
from tests.solvers.gaussian import denoiser, flowed

ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


def logistic(x: jax.Array, t: jax.Array) -> jax.Array:
    """`x' = 2 t x (1 - x)`, whose solutions are `x0 / (x0 + (1 - x0) e^-t^2)`."""
    return 2 * t[:, None] * x * (1 - x)


def test_the_orders_are_of_all_methods() -> None:
    assert ORDERS.keys() == METHODS.keys()


@pytest.mark.parametrize("method", ORDERS)
def test_error_falls_with_the_order(method: str) -> None:
    with jax.enable_x64():
        start = jnp.array([[0.1], [0.3]])
        true = start / (start + (1 - start) * np.exp(-4))

        def error(steps: int) -> float:
            end = solve(logistic, start, jnp.linspace(0, 2, steps + 1), method)
            return jnp.max(jnp.abs(end - true))

        assert order(error, 64) == pytest.approx(ORDERS[method], abs=0.1)
        assert error(64) < 0.02


def test_rk4_is_the_three_eighths_rule() -> None:
    """Of t^4 it sees t = 0, 1/3, 2/3, 1; the classical method sees 1/2 and says 5/24."""
    end = solve(lambda x, t: t**4 + 0 * x, jnp.zeros(1), jnp.array([0.0, 1.0]), "rk4")
    assert end == pytest.approx(11 / 54)


@pytest.mark.parametrize("method", METHODS)
def test_a_scan_is_its_steps(method: str) -> None:
    start = jnp.array([[0.1, 0.2], [0.3, 0.4]])
    times = jnp.array([1.0, 0.9, 0.5, 0.2, 0.0])
    x = start
    for i in range(4):
        x = solve(logistic, x, times[i : i + 2], method)
    # XLA fuses a program of one step as it does not fuse a loop's
    np.testing.assert_allclose(solve(logistic, start, times, method), x, rtol=1e-6)


def test_times_are_of_each_item() -> None:
    """An item gives what it gives alone, and the field is told its own time."""
    start, times = jnp.array([[0.1], [0.3]]), jnp.array([[0.0, 1.0], [0.5, 0.7], [1.0, 0.1]])
    both = solve(logistic, start, times)
    for i in range(2):
        alone = solve(logistic, start[i : i + 1], times[:, i])
        np.testing.assert_allclose(both[i : i + 1], alone, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 4, 5)])
def test_shapes(shape: tuple[int, ...]) -> None:
    def field(x: jax.Array, t: jax.Array) -> jax.Array:
        assert t.shape == shape[:1]
        return jnp.ones(shape)

    end = jax.jit(lambda x: solve(field, x, np.linspace(0, 1, 4)))(jnp.zeros(shape))
    np.testing.assert_allclose(end, jnp.ones(shape), rtol=1e-6)


def test_gradient() -> None:
    """Of `x' = rate * x` in 5 steps of Euler's: `(1 + rate / 5)^5` and its derivative."""

    def end(rate: jax.Array) -> jax.Array:
        return solve(lambda x, t: rate * x, jnp.ones(1), jnp.linspace(0, 1, 6), "euler")[0]

    value, slope = jax.value_and_grad(end)(2.0)
    assert value == pytest.approx(1.4**5, rel=1e-5)
    assert slope == pytest.approx(1.4**4, rel=1e-5)


def test_unknown_method() -> None:
    with pytest.raises(KeyError, match="rk5"):
        solve(logistic, jnp.zeros((1, 1)), jnp.array([0.0, 1.0]), "rk5")


def on_a_circle(t: jax.Array) -> Level:
    return Level(t, jnp.cos(t), jnp.sin(t))


def test_a_diffusion_is_a_flow() -> None:
    """From angle to angle, with the order of the method."""
    with jax.enable_x64():
        starts = jnp.array([[-1.3, 0.2], [0.9, 2.1]], jnp.float64)
        field, ends = probability_flow(denoiser(0.6), on_a_circle), jnp.array([1.4, 0.2])
        true = flowed(starts, 0.6, *map(on_a_circle, ends))

        def error(steps: int) -> float:
            end = solve(field, starts, jnp.linspace(*ends, steps + 1), "heun")
            return jnp.max(jnp.abs(end - true))

        assert order(error, 64) == pytest.approx(2, abs=0.1)


def test_a_flow_s_field_is_the_papers() -> None:
    """`f x + g^2 noise / (2 sigma)`, with drift and diffusion of the angle: `-tan`, `2 tan`."""
    x, t = jnp.array([[-1.3, 0.2], [0.9, 2.1]]), jnp.array([0.3, 1.2])
    level, denoise, tangent = on_a_circle(t), denoiser(0.6), jnp.tan(t)[:, None]
    noise = level.noise_in(x, denoise(x, level))
    expected = -tangent * x + tangent * noise / level.sigma[:, None]
    np.testing.assert_allclose(probability_flow(denoise, on_a_circle)(x, t), expected, rtol=1e-5)
