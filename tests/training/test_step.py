"""The step on one and on eight devices, both mappings, micro-batches, guards and groups."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from codecbwe_jax import objectives, systems
from codecbwe_jax.config import load_config
from codecbwe_jax.errors import UserError
from codecbwe_jax.objectives.turn import Average, Report, Turn
from codecbwe_jax.training import optimizers
from codecbwe_jax.training.devices import Pmap, ShardMap
from codecbwe_jax.training.step import init_state, make_step
from tests.conftest import MICRO

BALANCER = {
    "shares": {"multi_scale_mel": 2.0, "mpd/adversarial": 1.0},
    "total_norm": 1.0,
    "ema_decay": 0.9,
}


# Sums in another order: 2.5e-5 measured. A mistake in averaging shows as 1 or more.
ORDER = 1e-4


def config(balanced: bool = False) -> ConfigDict:
    """A micro GAN whose critic is there from the first step."""
    c = load_config("tests/training/micro_gan.py")
    with c.unlocked():
        c.objective.adversarial_from = 0
        if balanced:
            c.objective.balancer = ConfigDict(BALANCER)
    return c


def batch(size: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "target": rng.standard_normal((size, 1600)).astype(np.float32),
        "input": 0.1 * rng.standard_normal((size, 800)).astype(np.float32),
        "index": np.arange(size, dtype=np.int32),
    }


class Sgd:
    """Everything that a run of plain gradient descent needs; its update is the gradient."""

    def __init__(self, c: ConfigDict, turns=None) -> None:
        self.objective = objectives.build(systems.build(c.system), c.objective)
        self.turns = turns or [t for t in self.objective.turns if t.active(10)]
        self.params = jax.device_get(self.objective.init(jax.random.key(0)))
        groups = {t.group for t in self.turns}
        self.optimizers = {g: optax.identity() for g in groups}
        self.rates = {g: lambda step: jnp.float32(1.0) for g in groups}

    def gradients(self, mapping, micro_batches: int = 1, steps: int = 1):
        step = mapping.map_step(
            make_step(self.turns, self.optimizers, self.rates, {}, micro_batches)
        )
        state = mapping.place(jax.device_get(init_state(self.params, self.optimizers, {})))
        for _ in range(steps):
            state, metrics = step(
                state, mapping.divide(batch()), jax.random.key(1), mapping.place({})
            )
        after = mapping.fetch(state)["params"]
        return jax.tree.map(np.subtract, self.params, after), mapping.fetch(metrics), after


def apart(a, b) -> float:
    """Norm of the difference of two trees over the norm of the first."""
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


@pytest.mark.parametrize("kind", [Pmap, ShardMap])
def test_rows_come_back_whole_and_in_order(kind) -> None:
    mapping = kind(jax.devices())
    assert mapping.count == 8
    run = mapping.map_rows(lambda tree, batch: (batch["x"] * tree["scale"], batch["n"][:, None]))
    x, n = np.arange(48, dtype=np.float32).reshape(16, 3), np.arange(16)
    scaled, numbers = run(mapping.place({"scale": np.float32(2)}), mapping.divide({"x": x, "n": n}))
    np.testing.assert_array_equal(scaled, 2 * x)
    np.testing.assert_array_equal(numbers, n[:, None])


@pytest.mark.parametrize(("kind", "balanced"), [(Pmap, False), (Pmap, True), (ShardMap, True)])
def test_eight_devices_take_the_gradient_of_one(kind, balanced: bool) -> None:
    run = Sgd(config(balanced))
    one, _, state_one = run.gradients(Pmap(jax.devices()[:1]))
    eight, _, state_eight = run.gradients(kind(jax.devices()))
    assert apart(one["generator"], eight["generator"]) < ORDER
    assert apart(one["mpd"], eight["mpd"]) < ORDER
    if balanced:
        assert apart(state_one["balancer"], state_eight["balancer"]) < ORDER


def test_micro_batches_add_up_to_the_batch() -> None:
    run = Sgd(config())
    whole, values, _ = run.gradients(Pmap(jax.devices()[:1]))
    parts, again, _ = run.gradients(Pmap(jax.devices()[:1]), micro_batches=4)
    assert apart(whole["generator"], parts["generator"]) < ORDER
    assert values["generator/loss"] == pytest.approx(float(again["generator/loss"]), rel=1e-4)


def test_bfloat16_gives_a_gradient_near_float32s() -> None:
    """Of a smooth loss: the phase losses' kinks turn small differences into large ones."""

    def gradients(dtype: str):
        c = load_config("tests/training/micro_ap_bwe.py", MICRO)
        with c.unlocked():
            c.system.compute_dtype = dtype
            c.objective.losses = ConfigDict({"amplitude": {"weight": 1.0}})
            c.objective.critics = ConfigDict()
        return Sgd(c).gradients(Pmap(jax.devices()[:1]))[0]["generator"]

    exact, rough = gradients("float32"), gradients("bfloat16")
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(rough))
    assert apart(exact, rough) < 0.05  # 8 bits of mantissa through two blocks


def test_random_numbers_belong_to_the_sample() -> None:
    def loss(params, batch, context):
        draws = jax.vmap(lambda k: jax.random.normal(k, (3,)))(context.keys)
        return jnp.mean(jnp.sum(draws * params["generator"]["w"], 1)), Report({}, {})

    run = Sgd(config(), [Turn("generator", loss)])
    run.params = {"generator": {"w": np.ones(3, np.float32)}}
    one = run.gradients(Pmap(jax.devices()[:1]))[0]["generator"]["w"]
    eight = run.gradients(Pmap(jax.devices()))[0]["generator"]["w"]
    np.testing.assert_allclose(one, eight, atol=1e-6)
    later = run.gradients(Pmap(jax.devices()[:1]), steps=2)[0]["generator"]["w"]
    assert not np.allclose(later, 2 * one)


def test_an_update_that_is_not_finite_is_skipped_everywhere() -> None:
    def loss(params, batch, context):
        bad = jnp.any(batch["index"] == 5) & (context.step == 1)
        return jnp.where(bad, jnp.nan, 1.0) * jnp.sum(params["generator"]["w"]), Report({}, {})

    run = Sgd(config(), [Turn("generator", loss)])
    run.params = {"generator": {"w": np.zeros(2, np.float32)}}
    moved, metrics, _ = run.gradients(Pmap(jax.devices()), steps=3)
    np.testing.assert_allclose(moved["generator"]["w"], 2.0)  # three steps, one skipped
    assert (metrics["skipped"], metrics["skipped_in_row"]) == (1, 0)


@pytest.mark.parametrize("devices", [1, 8])
def test_losses_see_averages_and_what_is_frozen(devices: int) -> None:
    """Gradient descent of rate 1 on `w * (target - frozen)`: by hand, two steps."""

    def loss(params, batch, context):
        seen = context.averages["early"]["w"] + 10 * context.averages["late"]["w"]
        force = jax.lax.stop_gradient(seen) - context.frozen["teacher"]
        return jnp.sum(params["generator"]["w"] * force), Report({}, {})

    averages = {
        "early": Average("generator", 0.5, before_losses=True),
        "late": Average("generator", 0.75),
    }
    mapping = Pmap(jax.devices()[:devices])
    rates = {"generator": lambda step: jnp.float32(1.0)}
    transforms = {"generator": optax.identity()}
    step = mapping.map_step(make_step([Turn("generator", loss)], transforms, rates, averages))
    params = {"generator": {"w": np.float32([1.0])}}
    state = mapping.place(jax.device_get(init_state(params, transforms, averages)))
    frozen = mapping.place({"teacher": np.float32([3.0])})
    w = early = late = 1.0
    for _ in range(2):
        state, _ = step(state, mapping.divide(batch()), jax.random.key(1), frozen)
        early += 0.5 * (w - early)
        w -= early + 10 * late - 3.0
        late += 0.25 * (w - late)
    got = mapping.fetch(state)
    np.testing.assert_allclose(got["params"]["generator"]["w"], w)
    np.testing.assert_allclose(got["ema"]["early"]["w"], early)
    np.testing.assert_allclose(got["ema"]["late"]["w"], late)


def adamw(c: ConfigDict, rates=(), **settings) -> ConfigDict:
    c.optimizers.default.unlock()
    c.optimizers.default.update({"rates": rates, "warmup_steps": 0, **settings})
    return c.optimizers.default


def test_frozen_parameters_do_not_move_and_others_have_their_rate() -> None:
    settings = adamw(
        config(), (("^backbone/embed", 0.0), ("^head", 10.0)), weight_decay=0.0, clip_norm=0.0
    )
    run = Sgd(config())
    params, group = run.params, "generator"
    averages = {group: Average(group, 0.9)}
    tx = optimizers.build(settings, params[group])
    step = make_step(
        [t for t in run.turns if t.group == group],
        {group: tx},
        {group: optimizers.learning_rate(settings)},
        averages,
    )
    state = init_state(params, {group: tx}, averages)
    new, _ = jax.jit(functools.partial(step, mean=lambda x: x))(
        state, batch(), jax.random.key(0), {}
    )
    before, after = params[group], jax.device_get(new["params"][group])
    moves = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), before, after)
    assert set(moves["backbone"]["embed"].values()) == {0.0}
    # Adam's first step has the size of the learning rate
    rate = settings.learning_rate
    first, last = moves["backbone"]["convnext_0"]["dwconv"]["kernel"], moves["head"]["kernel"]
    assert first == pytest.approx(rate, rel=0.01)
    assert last == pytest.approx(10 * rate, rel=0.01)
    average = jax.device_get(new["ema"][group])["head"]["kernel"]
    expected = 0.9 * before["head"]["kernel"] + 0.1 * after["head"]["kernel"]
    np.testing.assert_allclose(average, expected, atol=1e-7)


def test_adamw_is_torchs() -> None:
    import torch

    settings = adamw(config(), weight_decay=0.01, clip_norm=0.5, betas=(0.8, 0.99))
    rng = np.random.default_rng(0)
    start = rng.standard_normal(5).astype(np.float32)
    gradients = rng.standard_normal((6, 5)).astype(np.float32)
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    torch_adamw = torch.optim.AdamW([weight], settings.learning_rate, (0.8, 0.99))
    tx = optimizers.build(settings, {"w": start})
    ours, state = {"w": jnp.asarray(start)}, tx.init({"w": start})
    for g in gradients:
        weight.grad = torch.from_numpy(g.copy())
        torch.nn.utils.clip_grad_norm_([weight], 0.5)
        torch_adamw.step()
        updates, state = tx.update({"w": jnp.asarray(g)}, state, ours)
        ours = {"w": ours["w"] - settings.learning_rate * updates["w"]}
    np.testing.assert_allclose(ours["w"], weight.detach().numpy(), atol=1e-6)  # float32 rounding


@pytest.mark.parametrize("limit", [0.5, 50.0])
def test_a_known_norm_clips_as_one_that_is_taken(limit: float) -> None:
    params = {"held": np.zeros(2, np.float32), "w": np.zeros(2, np.float32)}
    gradients = {"held": np.float32([5.0, 12.0]), "w": np.float32([3.0, -4.0])}

    def updated(rates, **known) -> dict[str, np.ndarray]:
        # no moments: an update is the size of its gradient
        settings = adamw(config(), rates, weight_decay=0.0, clip_norm=limit, betas=(0.0, 0.0))
        tx = optimizers.build(settings, params)
        _, state = tx.update(gradients, tx.init(params), params, **known)
        return next(s for s in state if hasattr(s, "mu")).mu

    norm = jnp.sqrt(jnp.float32(194.0))  # of all
    np.testing.assert_array_equal(updated((), norm=norm)["w"], updated(())["w"])
    scale = min(1.0, limit / np.sqrt(194.0))
    # float32 rounding
    np.testing.assert_allclose(updated((), norm=norm)["w"], scale * gradients["w"], rtol=1e-6)
    # what is held does not count: a norm of 5
    held = updated((("^held", 0.0),), norm=norm)
    np.testing.assert_allclose(held["w"], min(1.0, limit / 5) * gradients["w"], rtol=1e-6)
    assert not held["held"].any()


def test_learning_rate_warms_up_and_decays() -> None:
    settings = adamw(config(), learning_rate=1.0, decay=0.5, decay_every=10)
    settings.warmup_steps = 4
    rate = optimizers.learning_rate(settings)
    assert [float(rate(s)) for s in (0, 1, 3, 9, 10, 25)] == [0.25, 0.5, 1.0, 1.0, 0.5, 0.25]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="no parameter path matches"):
        optimizers.build(adamw(config(), (("^backbone", 0.0),)), {"head": np.zeros(2)})


def test_critics_cost_nothing_before_their_phase() -> None:
    c = config()
    c.objective.adversarial_from, c.objective.critics_alone_steps = 5, 3
    turns = objectives.build(systems.build(c.system), c.objective).turns
    active = {step: [t.group for t in turns if t.active(step)] for step in (0, 4, 5, 7, 8, 100)}
    assert active[0] == active[4] == ["generator"]
    assert active[5] == active[7] == ["mpd"]
    assert active[8] == active[100] == ["mpd", "generator"]
