"""Adam's moments divided over the devices: the same numbers from less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from codecbwe_jax.objectives.turn import Average, Report, Turn
from codecbwe_jax.training.devices import Pmap, ShardMap
from codecbwe_jax.training.shared_optimizer import parts, whole
from codecbwe_jax.training.step import init_state, make_step

# of no size that eight devices share evenly, one smaller than their number
SHAPES = {"kernel": (5, 7), "bias": (3,), "scale": ()}


def loss(params, batch, context):
    p = params["generator"]
    x = batch["x"] @ p["kernel"].T * p["scale"]
    broken = jnp.where(context.step == 2, jnp.nan, 1.0)  # this update is skipped
    return broken * jnp.mean((x[:, :3] + p["bias"] - 1) ** 2), Report({}, {})


def after_steps(mapping, steps: int, state=None):
    """Host state after some steps, whether or not the devices share the optimiser."""
    rng = np.random.default_rng(0)
    params = {
        "generator": {k: np.asarray(rng.standard_normal(s), np.float32) for k, s in SHAPES.items()}
    }
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        mapping.share(optax.scale_by_adam(0.8, 0.99)),
        optax.add_decayed_weights(0.1),
    )
    rates = {"generator": lambda step: jnp.float32(0.1)}
    moving = {"generator": Average("generator", 0.9)}
    step = mapping.map_step(
        make_step([Turn("generator", loss)], {"generator": adam}, rates, moving)
    )
    state = state or jax.device_get(init_state(params, {"generator": adam}, moving))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), state)
    placed = mapping.place_state(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), placed) == jax.tree.map(
        lambda x: (x.shape, x.dtype), mapping.state_shapes(shapes)
    )
    for i in range(steps):
        x = np.random.default_rng(i).standard_normal((8, 7)).astype(np.float32)
        batch = {"x": x, "index": np.arange(8, dtype=np.int32)}
        placed, _ = step(placed, mapping.divide(batch), jax.random.key(0), mapping.place({}))
    return mapping.fetch_state(placed, shapes), placed


@pytest.mark.parametrize("kind", [Pmap, ShardMap])
def test_the_numbers_are_those_of_the_whole(kind) -> None:
    plain, alone = after_steps(kind(jax.devices()), 5)
    divided, shared = after_steps(kind(jax.devices(), sharing=True), 5)
    assert plain["skipped"] == divided["skipped"] == 1
    # Adam's arithmetic is the same element by element; XLA may fuse it otherwise
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), plain, divided
    )
    kernel = shared["optimizers"]["generator"][1].mu["kernel"]
    assert kernel.addressable_data(0).size == 5  # of 35, and of 8 devices
    assert alone["optimizers"]["generator"][1].mu["kernel"].addressable_data(0).size == 35


@pytest.mark.parametrize("kind", [Pmap, ShardMap])
def test_a_state_moves_between_numbers_of_devices(kind) -> None:
    """Eight that share, then four that share, then one alone: as eight all the way."""
    expected, _ = after_steps(kind(jax.devices()), 5)
    state, _ = after_steps(kind(jax.devices(), sharing=True), 5)
    state = after_steps(kind(jax.devices()[:4], sharing=True), 0, state)[0]
    state = after_steps(kind(jax.devices()[:1]), 0, state)[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state, expected
    )


@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (3, 5), (2, 3, 4)])
def test_parts_make_the_whole(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    for count in (1, 3, 8):
        divided = parts(x, count)
        assert len(divided) == count
        np.testing.assert_array_equal(whole(divided, shape), x)
        np.testing.assert_array_equal(jnp.asarray(parts(jnp.asarray(x), count)), divided)
