import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax import systems
from codecbwe_jax.discriminators.mpd import MultiPeriodDiscriminator
from codecbwe_jax.discriminators.spectral import MultiResolutionDiscriminator
from codecbwe_jax.errors import UserError
from codecbwe_jax.systems.ap_bwe import ApBwe, polar
from codecbwe_jax.systems.facts import facts

SMALL = ApBwe(channels=8, layers=2, n_fft=128, hop_length=40, win_length=128)
OFFICIAL_PAIRS = [
    (8000, 48000),
    (12000, 48000),
    (16000, 48000),
    (24000, 48000),
    (2000, 16000),
    (4000, 16000),
    (8000, 16000),
]


def test_official_size() -> None:
    f = facts(ApBwe())
    assert f.parameters == 29_760_515
    assert f.macs_per_second == pytest.approx(17.8e9, rel=3e-3)  # the original's three digits


def test_official_critics() -> None:
    def count(critic) -> int:
        shapes = jax.eval_shape(critic.init, jax.random.key(0), jnp.zeros((1, 8192)))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    assert count(MultiPeriodDiscriminator(skip_first_map=True)) == pytest.approx(41.1e6, rel=2e-3)
    assert count(MultiResolutionDiscriminator("phase")) == pytest.approx(0.60e6, rel=2e-2)


@pytest.mark.parametrize("pair", OFFICIAL_PAIRS)
def test_every_official_rate_pair_runs(pair: tuple[int, int]) -> None:
    system = dataclasses.replace(SMALL, input_rate=pair[0], output_rate=pair[1])
    params = system.init(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((1, pair[0] // 4)).astype(np.float32)
    y = system.extend(params, x)
    assert y.shape == (1, pair[1] // 4 // 40 * 40)
    assert np.all(np.isfinite(y))


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_gradients_are_finite_on_silence_and_full_scale(level: float) -> None:
    params = SMALL.init(jax.random.key(0))
    batch = {"input": jnp.full((1, 800), level), "target": jnp.full((1, 2400), level)}

    def loss(p):
        out, truth = SMALL.predict(p, batch), SMALL.target(batch)
        spectra = jnp.abs(out["spectrum"] - truth["spectrum"]) + jnp.abs(out["reanalysed"])
        return jnp.sum(spectra) + jnp.sum(out["phase"]) + jnp.sum(out["waveform"] ** 2)

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_polar_points_where_told() -> None:
    z = polar(jnp.log(2.0), jnp.float32(0.0), jnp.float32(-3.0))
    assert z == pytest.approx(-2j, abs=1e-6)
    assert polar(jnp.log(2.0), jnp.float32(0), jnp.float32(0)) == pytest.approx(2.0, abs=1e-6)


def test_the_receptive_field_holds() -> None:
    params = SMALL.init(jax.random.key(0))
    x = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    changed = x.copy()
    changed[0, 2000:] += 1.0
    before, after = (SMALL.extend(params, w)[0] for w in (x, changed))
    safe = 3 * (2000 - SMALL.receptive_field)
    np.testing.assert_array_equal(before[:safe], after[:safe])
    assert np.any(before[safe:6000] != after[safe:6000])


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(UserError, match="chanels: no such field; there are channels"):
        systems.build({"name": "ap_bwe", "chanels": 8})
    with pytest.raises(UserError, match="one of ap_bwe, "):
        systems.build({"name": "apbwe"})
