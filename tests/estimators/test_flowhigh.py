"""FLowHigh's network: what its golden numbers do not show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.estimators.flowhigh import FlowHighNetwork

MELS = 6
NETWORK = FlowHighNetwork(24, 2, 2, 8, 20, 5)


def drawn(frames: int = 17) -> tuple[jax.Array, ...]:
    x, condition = jax.random.normal(jax.random.key(0), (2, 3, frames, MELS))
    return x, condition, jnp.array([0.1, 0.5, 0.9])


@pytest.fixture(scope="module")
def params() -> dict:
    """None of them zeros."""
    fresh = NETWORK.init(jax.random.key(1), *drawn())
    leaves, tree = jax.tree.flatten(fresh)
    rng = np.random.default_rng(2)
    noisy = [x + 0.3 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves]
    return jax.tree.unflatten(tree, noisy)


def test_an_item_of_a_batch_is_what_it_is_alone(params: dict) -> None:
    x, condition, t = drawn()
    lengths = jnp.array([17, 9, 4])
    out = NETWORK.apply(params, x, condition, t, lengths)
    for i, n in enumerate(lengths):
        alone = NETWORK.apply(params, x[i : i + 1, :n], condition[i : i + 1, :n], t[i : i + 1])
        # float32 rounding of products that are ordered differently
        np.testing.assert_allclose(out[i, :n], alone[0], atol=2e-5)


def test_dropped_items_are_told_the_null_condition_which_does_not_learn(params: dict) -> None:
    x, condition, t = drawn()
    null = params["params"]["null_cond"]
    dropped = jnp.array([True, False, True])
    told = jnp.where(dropped[:, None, None], null, condition)
    expected = NETWORK.apply(params, x, told, t)
    np.testing.assert_allclose(NETWORK.apply(params, x, condition, t, None, dropped), expected)

    def total(params: dict) -> jax.Array:
        return jnp.sum(NETWORK.apply(params, x, condition, t, None, dropped))

    gradient = jax.grad(total)(params)["params"]
    assert not np.any(gradient.pop("null_cond"))
    # all else does
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_bfloat16_stays_near_float32(params: dict) -> None:
    exact = NETWORK.apply(params, *drawn())
    rough = NETWORK.clone(dtype=jnp.bfloat16).apply(params, *drawn())
    assert rough.dtype == jnp.float32
    apart = np.std(np.asarray(rough) - np.asarray(exact)) / np.std(exact)
    # 8 bits of mantissa, 0.4 %, of logits that are tens
    assert 0 < apart < 0.1


def test_silent_frames_have_finite_gradients() -> None:
    params = NETWORK.init(jax.random.key(1), *drawn())
    nothing = jnp.zeros((1, 7, MELS))
    zeros = jax.tree.map(jnp.zeros_like, params)

    def total(params: dict) -> jax.Array:
        return jnp.sum(NETWORK.apply(params, nothing, nothing, jnp.zeros(1)))

    for values in (params, zeros):
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(jax.grad(total)(values)))
