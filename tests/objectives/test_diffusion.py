"""Learning to say the noise."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from codecbwe_jax import objectives, systems
from codecbwe_jax.errors import UserError
from codecbwe_jax.objectives.diffusion import stratified_times
from codecbwe_jax.objectives.turn import Context
from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.solvers.schedules import cosine_log_snr
from codecbwe_jax.training.devices import Pmap, ShardMap
from tests.training.test_step import ORDER, Sgd, apart, batch, config


@dataclasses.dataclass(frozen=True)
class Halving:
    """Says a share of the noisy signal, and of each input's mean."""

    def init(self, key: jax.Array) -> dict[str, np.ndarray]:
        return {"shares": np.float32([0.5, 0.1])}

    def clean(self, batch: Any) -> jax.Array:
        return batch["target"]

    def condition(self, batch: Any) -> jax.Array:
        return batch["input"].mean(axis=1)

    def level(self, times: jax.Array) -> Level:
        return Level.of_log_snr(times, cosine_log_snr(times))

    def estimate(self, params: Any, x: jax.Array, level: Level, condition: Any) -> jax.Array:
        noisier = level.time * params["shares"][0]
        return noisier[:, None] * x + params["shares"][1] * condition[:, None]


def diffusion(**settings: str) -> Any:
    whole = {"name": "diffusion", "distance": "l1", "times": "stratified", **settings}
    return objectives.build(Halving(), ConfigDict(whole))


@pytest.mark.parametrize("kind", [Pmap, ShardMap])
@pytest.mark.parametrize("times", ["stratified", "independent"])
def test_eight_devices_take_the_gradient_of_one(kind: Any, times: str) -> None:
    objective = diffusion(times=times)
    run = Sgd(config(), objective.turns)
    run.params = objective.init(jax.random.key(0))
    one, _, _ = run.gradients(Pmap(jax.devices()[:1]))
    eight, metrics, _ = run.gradients(kind(jax.devices()))
    assert apart(one, eight) < ORDER
    assert np.isfinite(metrics["generator/loss"])


@pytest.mark.parametrize(("distance", "expected"), [("l1", np.sqrt(2 / np.pi)), ("l2", 1.0)])
def test_who_says_nothing_is_as_far_off_as_the_noise_is_large(
    distance: str, expected: float
) -> None:
    objective = diffusion(distance=distance)
    silent = {"generator": {"shares": jnp.zeros(2)}}
    keys = jax.random.split(jax.random.key(0), 8)
    context = Context(jnp.int32(0), keys, lambda x: x)
    loss, report = objective.turns[0].loss(silent, batch(), context)
    # of 12,800 normal numbers
    assert float(loss) == pytest.approx(expected, rel=0.03)
    assert not report.metrics  # the step reports the loss itself


@pytest.mark.parametrize("first", [0, 12345, 2**31 - 20])
def test_consecutive_samples_are_spread_over_all_times(first: int) -> None:
    times = np.asarray(stratified_times(jnp.arange(first, first + 16, dtype=jnp.int32)))
    assert times.dtype == np.float32
    assert times.min() >= 0
    assert times.max() < 1
    around = np.sort(times)
    gaps = np.diff(np.append(around, around[0] + 1))
    # of 16, an even grid's being 1: 16 / golden^5 and 16 / golden^7, by the three-distance theorem
    assert gaps.max() * 16 < 1.45
    assert gaps.min() * 16 > 0.54


def test_who_says_no_noise_is_refused() -> None:
    settings = ConfigDict({"name": "diffusion", "distance": "l1", "times": "stratified"})
    with pytest.raises(UserError, match=r"^config\.objective diffusion: Sinc says no noise$"):
        objectives.build(systems.build({"name": "sinc"}), settings)
