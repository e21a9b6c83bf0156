"""Probability paths: their ends, and that the velocity is the derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.solvers import paths

SIGMA = 1e-2
KNOWN = jnp.arange(5) < 2
KINDS = {
    "basic": paths.basic(SIGMA),
    "adaptive": paths.adaptive(SIGMA),
    "constant": paths.constant(SIGMA),
    "mixed": paths.constant(SIGMA).where(KNOWN, paths.basic(SIGMA)),
}


def drawn() -> list[jax.Array]:
    return list(jax.random.normal(jax.random.key(0), (3, 4, 6, 5)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_leads_from_its_start_to_the_data_at_its_velocity(kind: str) -> None:
    clean, prior, noise = drawn()
    path = KINDS[kind]
    begin, end = (path.mix(clean, prior, noise, jnp.full(4, t)) for t in (0.0, 1.0))
    np.testing.assert_allclose(begin, path.start(prior, noise), atol=1e-6)
    np.testing.assert_allclose(end, clean + SIGMA * noise, atol=1e-6)
    # straight: the same slope everywhere, so what a step of any length makes is exact
    np.testing.assert_allclose(end - begin, path.velocity(clean, prior, noise), atol=2e-6)
    t = jnp.linspace(0.1, 0.9, 4)
    _, slope = jax.jvp(lambda t: path.mix(clean, prior, noise, t), (t,), (jnp.ones(4),))
    np.testing.assert_allclose(slope, path.velocity(clean, prior, noise), atol=2e-6)


def test_a_mixed_path_is_each_in_its_bins() -> None:
    clean, prior, noise = drawn()
    t = jnp.linspace(0.0, 1.0, 4)
    mixed, constant, basic = (
        KINDS[kind].mix(clean, prior, noise, t) for kind in ("mixed", "constant", "basic")
    )
    np.testing.assert_array_equal(mixed[..., :2], constant[..., :2])
    np.testing.assert_array_equal(mixed[..., 2:], basic[..., 2:])
