"""UniverSR's network: what it is told, what it does not see, and at which lengths."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.estimators.convnext_v2 import ResponseNorm
from codecbwe_jax.estimators.universr import (
    KNOWN_BINS,
    UniversrNetwork,
    join,
    rate_index,
    split,
)
from codecbwe_jax.estimators.universr_condition import Condition

SMALL = UniversrNetwork((4, 6), (1, 1), 8, 6, 1, 24, 16, 3)
RATES = jnp.array([0, 2])


def drawn(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.fixture(scope="module")
def params() -> Any:
    """Loud, so that nothing that is told is lost in rounding."""
    given = drawn(2, 16, 16, 2), jnp.zeros(2), drawn(2, 16, 9, 2), RATES
    shapes = jax.eval_shape(SMALL.init, jax.random.key(0), *given)["params"]
    leaves, structure = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    loud = [0.5 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, loud)


def encode(params: Any, known: jax.Array, **also: Any) -> Condition:
    apply = jax.jit(
        lambda p, k, also: SMALL.apply({"params": p}, k, RATES, method="encode", **also)
    )
    return apply(params, known, also)


def field(params: Any, x: jax.Array, condition: Condition) -> jax.Array:
    apply = jax.jit(lambda p, *given: SMALL.apply({"params": p}, *given, method="field"))
    return apply(params, x, jnp.array([0.2, 0.7]), condition)


def test_full_size() -> None:
    network, frames = UniversrNetwork(), 64
    x, known = jnp.zeros((1, frames, 432, 2)), jnp.zeros((1, frames, 170, 2))
    given = x, jnp.zeros(1), known, jnp.zeros(1, int)
    out, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), *given)
    assert out.shape == x.shape
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 57_034_694
    assert -(-network.least_frames // network.stride) * network.stride == frames


def test_the_whole_is_its_two_parts(params: Any) -> None:
    x, known, t = drawn(2, 13, 16, 2), drawn(2, 13, 9, 2, seed=1), jnp.array([0.2, 0.7])
    whole = jax.jit(SMALL.apply)({"params": params}, x, t, known, RATES)
    np.testing.assert_allclose(field(params, x, encode(params, known)), whole, rtol=1e-5)


def test_a_dropped_item_is_told_its_rate_alone(params: Any) -> None:
    x, known = drawn(2, 16, 16, 2), drawn(2, 16, 9, 2, seed=1)
    told = field(params, x, encode(params, known))
    half = field(params, x, encode(params, known, dropped=jnp.array([False, True])))
    bound = SMALL.bind({"params": params})
    nothing = field(params, x, bound.encode_nothing(RATES))
    np.testing.assert_allclose(half[0], told[0], rtol=1e-5)
    np.testing.assert_allclose(half[1], nothing[1], rtol=1e-4, atol=1e-5)
    assert jnp.max(jnp.abs(half[1] - told[1])) > 0.01
    other = field(params, x, bound.encode_nothing(RATES[::-1]))
    assert jnp.max(jnp.abs(other - nothing)) > 0.01


def test_a_dropped_item_teaches_the_encoder_nothing(params: Any) -> None:
    x, known = drawn(2, 16, 16, 2), drawn(2, 16, 9, 2, seed=1)

    def loss(params: Any, dropped: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(field(params, x, encode(params, known, dropped=dropped))))

    slopes = jax.grad(loss)(params, jnp.array([True, True]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes["conditioning_encoder"]))
    assert np.any(slopes["uncond_emb"])


@pytest.mark.parametrize("frames", [SMALL.least_frames, 16, 18])
def test_frames_are_reflected_to_whole_strides(params: Any, frames: int) -> None:
    x, known = drawn(2, frames, 16, 2), drawn(2, frames, 9, 2, seed=1)
    missing = ((0, 0), (0, -frames % SMALL.stride), (0, 0), (0, 0))
    out = field(params, x, encode(params, known))
    assert out.shape == x.shape
    longer, more = (np.pad(y, missing, mode="reflect") for y in (x, known))
    again = field(params, longer, encode(params, more))[:, :frames]
    np.testing.assert_allclose(out, again, rtol=1e-4, atol=1e-5)


def test_too_few_frames_are_refused(params: Any) -> None:
    frames = SMALL.least_frames - 1
    condition = encode(params, drawn(2, frames, 9, 2))
    with pytest.raises(ValueError, match="3 x 4 is too small to reflect 3"):
        field(params, drawn(2, frames, 16, 2), condition)


def test_a_norm_of_silence_has_a_gradient() -> None:
    layer, silence = ResponseNorm(), jnp.zeros((1, 4, 4, 3))
    params = jax.tree.map(jnp.ones_like, layer.init(jax.random.key(0), silence))
    slopes = jax.grad(lambda x: jnp.sum(layer.apply(params, x)))(silence)
    assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize("known", [8, 9, 20, 24])
def test_what_is_split_is_joined(known: int) -> None:
    """What is known stays; the network's own fill the rest."""
    spectrum, other = drawn(1, 5, 24, 2), drawn(1, 5, 16, 2, seed=1)
    low, high = split(spectrum, known, 16)
    assert (low.shape[2], high.shape[2]) == (known, 16)
    np.testing.assert_array_equal(join(low, high, 24), spectrum)
    mixed = join(low, other, 24)
    np.testing.assert_array_equal(mixed[:, :, :known], low)
    np.testing.assert_array_equal(mixed[:, :, known:], other[:, :, known - 8 :])


def test_a_hole_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 24 bins are neither known nor generated"):
        join(drawn(1, 5, 7, 2), drawn(1, 5, 16, 2), 24)


def test_rates_are_numbered_from_the_lowest() -> None:
    assert [rate_index(rate, KNOWN_BINS) for rate in (8000, 12000, 16000, 24000)] == [0, 1, 2, 3]
    assert rate_index(16000, {24000: 20, 16000: 14}) == 0
