"""Flow matching: what it asks, what its loss is, and that devices do not matter to it."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from codecbwe_jax import objectives, systems
from codecbwe_jax.errors import UserError
from codecbwe_jax.objectives.flow_matching import FlowMatching
from codecbwe_jax.objectives.turn import Context
from codecbwe_jax.solvers import paths
from codecbwe_jax.systems.base import OneNetwork
from codecbwe_jax.training.devices import Pmap
from codecbwe_jax.training.step import init_state, make_step

WIDTH = 4
PATH = paths.adaptive(0.1)


@dataclasses.dataclass(frozen=True)
class Rows(OneNetwork):
    """Rows of numbers that flow from others, by one layer."""

    input_rate: ClassVar[int] = 16000
    output_rate: ClassVar[int] = 16000
    receptive_field: ClassVar[int] = 0
    alignment: ClassVar[int] = WIDTH
    network: ClassVar[nn.Module] = nn.Dense(WIDTH)
    example: ClassVar[tuple[Any, ...]] = (jax.ShapeDtypeStruct((1, 3 * WIDTH + 1), jnp.float32),)

    def extend(self, params, inputs, sampling=None) -> jax.Array:
        return inputs

    def clean(self, batch) -> jax.Array:
        return batch["target"].reshape(len(batch["target"]), -1, WIDTH)

    def condition(self, params, batch, dropped) -> Any:
        heard = batch["input"].reshape(len(batch["input"]), -1, WIDTH)
        untold = jnp.zeros(len(heard)) if dropped is None else dropped.astype(jnp.float32)
        return heard, untold

    def prior(self, condition) -> jax.Array:
        return condition[0]

    def flow_path(self) -> paths.Path:
        return PATH

    def field(self, params, x, t, condition) -> jax.Array:
        heard, untold = condition
        told = heard * (1 - untold)[:, None, None]
        mark = jnp.broadcast_to(untold[:, None, None], heard.shape)
        time = jnp.broadcast_to(t[:, None, None], (*x.shape[:-1], 1))
        return self.network.apply(
            {"params": params}, jnp.concatenate([x, told, mark, time], axis=-1)
        )


class Oracle(Rows):
    """Knows the noise, since all clean data are 0."""

    def field(self, params, x, t, condition) -> jax.Array:
        t = t[:, None, None]
        noise = (x - (1 - t) * condition[0]) / ((1 - t) * PATH.first + t * PATH.last)
        return -condition[0] + (PATH.last - PATH.first) * noise


def batch(size: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    wave = rng.standard_normal((2, size, 5 * WIDTH)).astype(np.float32)
    return {"target": wave[0], "input": wave[1], "index": np.arange(size, dtype=np.int32)}


def objective(system: Any, dropped: float = 0.0) -> FlowMatching:
    return FlowMatching(system, ConfigDict({"name": "flow_matching", "dropped": dropped}))


def context(size: int) -> Context:
    return Context(jnp.int32(0), jax.random.split(jax.random.key(2), size), lambda x: x)


def test_the_loss_is_what_the_field_is_away_from_the_path() -> None:
    given = batch(64) | {"target": np.zeros((64, 5 * WIDTH), np.float32)}
    losses = {}
    for system in (Oracle(), Rows()):
        (turn,) = objective(system).turns
        params = {"generator": jax.tree.map(jnp.zeros_like, Rows().init(jax.random.key(0)))}
        losses[type(system)] = float(turn.loss(params, given, context(64))[0])
    # the noise is divided out again in float32
    assert losses[Oracle] < 1e-9
    # a field of nothing is away by the whole velocity: variances of prior and noise
    assert losses[Rows] == pytest.approx(1 + 0.9**2, rel=0.1)


def test_so_many_conditions_are_dropped() -> None:
    class Watching(Rows):
        def field(self, params, x, t, condition) -> jax.Array:
            seen.append(condition[1])
            return x

    seen: list[jax.Array] = []
    for dropped in (0.0, 0.25):
        (turn,) = objective(Watching(), dropped).turns
        turn.loss({"generator": {}}, batch(512), context(512))
    assert not seen[0].any()
    assert set(np.unique(seen[1])) == {0.0, 1.0}
    # of 512: two standard deviations are 0.04
    assert float(seen[1].mean()) == pytest.approx(0.25, abs=0.06)


def test_eight_devices_learn_what_one_does() -> None:
    learnt = objective(Rows(), 0.3)
    params = jax.device_get(learnt.init(jax.random.key(0)))
    optimizers = {"generator": optax.identity()}
    rates = {"generator": lambda step: jnp.float32(1.0)}
    gradients = []
    for devices in (1, 8):
        mapping = Pmap(jax.devices()[:devices])
        step = mapping.map_step(make_step(learnt.turns, optimizers, rates, {}))
        state = mapping.place(jax.device_get(init_state(params, optimizers, {})))
        state, _ = step(state, mapping.divide(batch()), jax.random.key(1), mapping.place({}))
        after = mapping.fetch(state)["params"]["generator"]
        gradients.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(after)]))
    start = np.concatenate([np.ravel(x) for x in jax.tree.leaves(params["generator"])])
    # sums in another order; other draws would be away by as much as the gradient is long
    moved = np.linalg.norm(gradients[0] - start)
    assert np.linalg.norm(gradients[0] - gradients[1]) < 1e-5 * moved


def test_it_says_what_it_asks() -> None:
    with pytest.raises(UserError, match="objective flow_matching: Sinc has no field that flows"):
        objectives.build(systems.build({"name": "sinc"}), ConfigDict({"name": "flow_matching"}))
