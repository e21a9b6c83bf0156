"""Streaming systems: causal to the sample, of the stated size, lag and state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.errors import UserError
from codecbwe_jax.nn.nsvq import replace_unused
from codecbwe_jax.systems import build
from codecbwe_jax.systems.facts import facts
from tests.conftest import stirred

SMALL = {
    "bbwexnet": {"name": "bbwexnet", "widths": (4, 6, 8, 8, 8), "bottleneck": 4, "codes": 8},
    "bbwexnet_32k": {
        "name": "bbwexnet",
        "output_rate": 32000,
        "widths": (4, 6, 8, 8, 8),
        "bottleneck": 4,
    },
    "opus_bbwe": {"name": "opus_bbwe", "size": 16},
    "opus_bbwe_32k": {"name": "opus_bbwe", "size": 16, "output_rate": 32000},
}


def test_published_and_stated_sizes() -> None:
    assert facts(build({"name": "opus_bbwe"})).parameters == 367_890
    unet = build({"name": "bbwexnet"})
    gains = 4769  # of weight norms, which a folded network does not have
    assert facts(unet).parameters - gains == 1_434_497
    assert 1000 * unet.delay / unet.input_rate <= 12
    assert 1000 * build({"name": "opus_bbwe"}).delay / 16000 <= 11


@pytest.mark.parametrize("name", ["opus_bbwe", "bbwexnet"])
@pytest.mark.parametrize("rates", [{"input_rate": 24000}, {"output_rate": 44100}], ids=str)
def test_other_rates_are_refused(name: str, rates: dict[str, int]) -> None:
    with pytest.raises(UserError, match="take 16000 Hz alone and give 32000 or 48000 Hz"):
        build({"name": name, **rates})


@pytest.mark.parametrize("name", SMALL)
def test_the_future_never_changes_the_past(name: str) -> None:
    system = build(SMALL[name])
    params = stirred(system.init(jax.random.key(0)))
    network = jax.jit(lambda x: system.network.apply({"params": params}, x))
    x = 0.1 * np.random.default_rng(0).standard_normal((1, 3200)).astype(np.float32)
    changed = x.copy()
    changed[0, 1600:] += 0.5
    before, after = network(x), network(changed)
    first = 1600 * system.output_rate // system.input_rate
    np.testing.assert_array_equal(before[:, :first], after[:, :first])
    assert not np.array_equal(before[:, first:], after[:, first:])


@pytest.mark.parametrize("name", SMALL)
def test_a_scan_over_frames_gives_what_the_whole_gives(name: str) -> None:
    """The step is pure and its state keeps its shapes, so that `lax.scan` takes it, on parameters
    whose weight norms are folded."""
    system = build(SMALL[name])
    params = stirred(system.init(jax.random.key(0)))
    x = 0.1 * np.random.default_rng(0).standard_normal((2, 3200)).astype(np.float32)
    frames = x.reshape(2, -1, system.frame_length).swapaxes(0, 1)

    @jax.jit
    def scanned(params: dict, frames: jax.Array) -> jax.Array:
        state = system.begin(params, 2)
        folded = system.folded(params)
        _, out = jax.lax.scan(lambda s, f: system.step(folded, s, f), state, frames)
        return out

    out = scanned(params, frames).swapaxes(0, 1).reshape(2, -1)
    whole = jax.jit(lambda x: system.network.apply({"params": params}, x))(x)
    # sums in another order
    np.testing.assert_allclose(out, whole, atol=2e-6)


@pytest.mark.parametrize("name", SMALL)
def test_the_interpolated_input_lags_as_stated(name: str) -> None:
    """What both paths carry unchanged, low frequencies, is `lag` samples late."""
    system = build(SMALL[name])
    ratio = system.output_rate // system.input_rate
    t = np.arange(4000) / system.input_rate
    y = np.asarray(system.interpolate(np.sin(2 * np.pi * 500 * t)[None].astype(np.float32)))[0]
    n = np.arange(2000 * ratio, 3600 * ratio)
    turn = np.sum(y[n] * np.exp(-2j * np.pi * 500 * n / system.output_rate))
    late = -(np.angle(turn) + np.pi / 2) / (2 * np.pi * 500) * system.output_rate
    assert late % (system.output_rate / 500) == pytest.approx(system.lag, abs=0.5)


def test_the_receptive_field_holds() -> None:
    system = build(SMALL["bbwexnet_32k"])
    params = stirred(system.init(jax.random.key(0)))
    x = np.zeros((1, 8000), np.float32)

    def one(x: jax.Array) -> jax.Array:
        return system.network.apply({"params": params}, x)[0, -2 * system.frame_length]

    touched = np.nonzero(np.asarray(jax.jit(jax.grad(one))(x))[0])[0]
    past = 8000 - system.frame_length - touched[0]
    assert 0.9 * system.receptive_field < past <= system.receptive_field


@pytest.mark.parametrize("name", ["bbwexnet", "opus_bbwe"])
def test_gradients_on_silence_are_finite(name: str) -> None:
    system = build(SMALL[name])
    params = system.init(jax.random.key(0))
    batch = {
        "input": jnp.zeros((2, 800)),
        "target": jnp.zeros((2, 2400)),
        "index": jnp.arange(2),
    }

    def loss(params: dict) -> jax.Array:
        return jnp.sum(jnp.square(system.predict(params, batch)["waveform"] - 0.1))

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_codes_that_nobody_uses_are_replaced() -> None:
    codebook = np.arange(12, dtype=np.float32).reshape(4, 3)
    counts = np.array([50, 0, 1, 100])
    fresh = np.asarray(replace_unused(codebook, counts, 100, jax.random.key(0), least=0.02))
    np.testing.assert_array_equal(fresh[[0, 3]], codebook[[0, 3]])
    for i in (1, 2):
        assert np.abs(fresh[i] - codebook[[0, 3]]).max(axis=1).min() < 1e-6
