"""What each turn minimises, by hand from the config's weights, before, in and after the ramp."""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from codecbwe_jax.config import load_config
from codecbwe_jax.objectives.gan import Gan
from codecbwe_jax.objectives.reconstruction import LOSSES
from codecbwe_jax.objectives.turn import Context
from codecbwe_jax.systems import build
from tests.conftest import stirred

START, RAMP = 10, 4
CRITICS = {
    "mpd": {
        "periods": (2, 3),
        "channels": (2, 2, 2),
        "weight": 0.7,
        "adversarial": 0.3,
        "feature_matching": 1.9,
    },
    "mrad": {
        "resolutions": ((512, 128, 512), (256, 64, 256)),
        "channels": 2,
        "weight": 0.2,
        "adversarial": 0.11,
        "feature_matching": 0.6,
    },
}
# step -> share of the critics' part: (step - START + 1) / RAMP
RAMPED = {START - 1: 0.0, START: 0.25, START + 2: 0.75, START + 3: 1.0, START + 50: 1.0}
# sums of thousands of float32 values in another order
CLOSE = 1e-5


@pytest.fixture(scope="module", params=["hinge", "least_squares"])
def trial(request: pytest.FixtureRequest):
    config = load_config("tests/training/micro_config.py").unlock()
    config.objective.losses.log_stft = ConfigDict({"weight": 0.37})
    config.objective.critics = ConfigDict(CRITICS)
    config.objective.adversarial, config.objective.reduction = request.param, "sum"
    config.objective.adversarial_from, config.objective.ramp_steps = START, RAMP
    system = build(config.system)
    objective = Gan(system, config.objective)
    # a generator that is heard: fresh, it adds next to nothing
    params = stirred(jax.jit(objective.init)(jax.random.key(0)))
    rng = np.random.default_rng(0)
    batch = {
        "input": 0.1 * rng.standard_normal((2, 1600)).astype(np.float32),
        "target": 0.1 * rng.standard_normal((2, 3200)).astype(np.float32),
    }
    return config, system, objective, params, batch


@pytest.fixture(scope="module")
def heard(trial):
    """Everything that the losses are made of: (unweighted reconstruction losses, critics' scores
    and maps of the true and of the generated waveform)."""
    config, system, objective, params, batch = trial

    @jax.jit
    def everything(params, batch):
        ours, true = system.predict(params["generator"], batch), system.target(batch)
        settings = {
            name: {k: v for k, v in s.items() if k != "weight"}
            for name, s in config.objective.losses.to_dict().items()
        }
        losses = {n: LOSSES[n].compute(ours, true, system, **s) for n, s in settings.items()}
        judged = {
            name: [
                critic.apply({"params": params[name]}, features["waveform"])
                for features in (true, ours)
            ]
            for name, critic in objective.critics.items()
        }
        return losses, judged

    return jax.device_get(everything(params, batch))


@pytest.fixture(scope="module")
def losses_at(trial) -> Callable[[int], dict[str, float]]:
    """Of each turn that is active at a step."""
    _, _, objective, params, batch = trial

    @functools.partial(jax.jit, static_argnums=0)
    def run(active: tuple[bool, ...], step: jax.Array, params: dict, batch: dict) -> dict:
        context = Context(step, jax.random.split(jax.random.key(0), 2), lambda tree: tree)
        turns = itertools.compress(objective.turns, active)
        return {turn.group: turn.loss(params, batch, context)[0] for turn in turns}

    def at(step: int) -> dict[str, float]:
        active = tuple(turn.active(step) for turn in objective.turns)
        return jax.device_get(run(active, jnp.int32(step), params, batch))

    return at


def test_reconstruction_alone_comes_first(losses_at, heard) -> None:
    losses = losses_at(START - 1)
    assert list(losses) == ["generator"]
    expected = heard[0]["multi_scale_mel"] + 0.37 * heard[0]["log_stft"]
    assert losses["generator"] == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("step", [START, START + 2, START + 3, START + 50])
def test_the_generator_hears_each_critic_by_its_weights(trial, losses_at, heard, step: int) -> None:
    config = trial[0]
    form = {
        "hinge": lambda score: np.mean(np.maximum(1 - score, 0)),
        "least_squares": lambda score: np.mean((1 - score) ** 2),
    }[config.objective.adversarial]
    expected = heard[0]["multi_scale_mel"] + 0.37 * heard[0]["log_stft"]
    for name, (real, fake) in heard[1].items():
        adversarial = sum(form(score) for score, _ in fake)
        matching = sum(
            np.mean(np.abs(ours - true))
            for (_, true_maps), (_, our_maps) in zip(real, fake, strict=True)
            for true, ours in zip(true_maps, our_maps, strict=True)
        )
        weights = CRITICS[name]
        expected += RAMPED[step] * weights["adversarial"] * adversarial
        expected += RAMPED[step] * weights["feature_matching"] * matching
    assert losses_at(step)["generator"] == pytest.approx(expected, rel=CLOSE)


def test_a_critic_tells_the_true_from_the_generated(trial, losses_at, heard) -> None:
    """Not the other way round, from the first step on, by its weight and without a ramp."""
    config = trial[0]
    true_form, false_form = {
        "hinge": (lambda s: np.maximum(1 - s, 0), lambda s: np.maximum(1 + s, 0)),
        "least_squares": (lambda s: (1 - s) ** 2, lambda s: s**2),
    }[config.objective.adversarial]
    for step in (START, START + 50):
        losses = losses_at(step)
        for name, (real, fake) in heard[1].items():
            expected = CRITICS[name]["weight"] * sum(
                np.mean(true_form(r)) + np.mean(false_form(f))
                for (r, _), (f, _) in zip(real, fake, strict=True)
            )
            assert losses[name] == pytest.approx(expected, rel=CLOSE)


def test_no_turn_moves_anothers_parameters(trial) -> None:
    """The gradient of a critic's loss for the generator is zero, and the generator's judges keep
    what they know."""
    _, _, objective, params, batch = trial
    context = Context(jnp.int32(START), jax.random.split(jax.random.key(0), 2), lambda tree: tree)
    turns = {turn.group: turn for turn in objective.turns if turn.active(START)}
    for name in CRITICS:
        gradient = jax.jit(jax.grad(lambda p, t=turns[name]: t.loss(p, batch, context)[0]))(params)
        assert all(not np.any(g) for g in jax.tree.leaves(gradient["generator"]))
        assert any(np.any(g) for g in jax.tree.leaves(gradient[name]))
