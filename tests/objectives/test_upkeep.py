"""What training does beside gradients: codes that nobody uses are replaced, a generator waits."""

import jax
import numpy as np
import optax

from codecbwe_jax.config import load_config
from codecbwe_jax.objectives.gan import Gan
from codecbwe_jax.systems import build
from codecbwe_jax.training.devices import Pmap
from codecbwe_jax.training.step import init_state, make_step

CODES = 12


def test_a_run_replaces_the_codes_that_no_device_used() -> None:
    config = load_config("configs/bbwexnet.py:tiny_nsvq").unlock()
    config.system.update({"widths": (4, 4, 4, 4, 4), "bottleneck": 4, "codes": CODES})
    config.system.replace_every = 3
    system = build(config.system)
    objective = Gan(system, config.objective)
    params = jax.device_get(objective.init(jax.random.key(0)))
    # far from all that the encoder gives: nobody takes the last half of the codes
    book = params["generator"]["quantizer"]["codebooks"].copy()
    book[CODES // 2 :] += 100.0
    params["generator"]["quantizer"]["codebooks"] = book
    mapping = Pmap(jax.devices()[:2])
    optimizers, rates = {"generator": optax.identity()}, {"generator": lambda step: 0.0}
    step = mapping.map_step(make_step(objective.turns, optimizers, rates, {}))
    rng = np.random.default_rng(0)
    batch = {
        "input": 0.1 * rng.standard_normal((4, 1600)).astype(np.float32),
        "target": 0.1 * rng.standard_normal((4, 4800)).astype(np.float32),
        "index": np.arange(4, dtype=np.int32),
    }
    state, seen = mapping.place(jax.device_get(init_state(params, optimizers, {}))), []
    for _ in range(3):
        state, _ = step(state, mapping.divide(batch), jax.random.key(0), mapping.place({}))
        seen.append(mapping.fetch(state)["params"])
    kept = [p["generator_state"] for p in seen]
    assert [int(k["batches"]) for k in kept] == [1, 2, 0]
    used = kept[1]["used"] > 0
    assert used.any()
    assert not used[CODES // 2 :].any()
    before, after = (p["generator"]["quantizer"]["codebooks"] for p in seen[1:])
    np.testing.assert_array_equal(before, book)
    np.testing.assert_array_equal(after[used], book[used])
    for code in after[~used]:
        assert np.abs(code - book[used]).max(axis=1).min() < 1e-6
    # a mean over devices of equal copies: they replaced the same codes by the same
    copies = jax.device_get(state["params"]["generator"]["quantizer"]["codebooks"])
    np.testing.assert_array_equal(copies[0], copies[1])


def test_a_sample_has_its_own_noise_on_whatever_device_it_is() -> None:
    config = load_config("configs/bbwexnet.py:tiny_nsvq").unlock()
    config.system.update({"widths": (4, 4, 4, 4, 4), "bottleneck": 4, "codes": CODES})
    system = build(config.system)
    # the noise at the bottleneck is heard in what comes out
    params = jax.tree.map(lambda x: 3 * x, jax.device_get(system.init(jax.random.key(0))))
    wave = 0.1 * np.random.default_rng(0).standard_normal((1, 1600)).astype(np.float32)
    batch = {
        "input": np.repeat(wave, 8, axis=0),
        "target": np.zeros((8, 4800), np.float32),
        "index": np.arange(40, 48, dtype=np.int32),
    }

    def waveforms(devices: int) -> np.ndarray:
        mapping = Pmap(jax.devices()[:devices])
        run = mapping.map_rows(lambda params, batch: system.predict(params, batch)["waveform"])
        return run(mapping.place(params), mapping.divide(batch))

    one, eight = waveforms(1), waveforms(8)
    noise = np.abs(one - one[0]).max(axis=1)
    assert (noise[1:] > 1e-3).all()  # of the same samples, by another index
    # sums in another order
    np.testing.assert_allclose(one, eight, atol=1e-2 * noise.max())


def test_the_generator_waits_for_its_critics() -> None:
    config = load_config("configs/hifi_gan_bwe.py").unlock()
    assert config.objective.generator_every == 2
    config.objective.adversarial_from = 4
    turns = Gan(build(config.system), config.objective).turns
    active = [[turn.group for turn in turns if turn.active(step)] for step in (3, 4, 5, 6)]
    assert active == [
        ["generator"],
        ["hifi_gan_plus", "generator"],
        ["hifi_gan_plus"],
        ["hifi_gan_plus", "generator"],
    ]


def test_the_generator_stands_still_while_fresh_critics_catch_up() -> None:
    config = load_config("configs/hifi_gan_bwe.py").unlock()
    config.objective.update({"adversarial_from": 0, "critics_alone_steps": 3, "generator_every": 1})
    turns = Gan(build(config.system), config.objective).turns
    active = [[turn.group for turn in turns if turn.active(step)] for step in (0, 2, 3)]
    assert active == [["hifi_gan_plus"], ["hifi_gan_plus"], ["hifi_gan_plus", "generator"]]
