"""NU-Wave 2's network, beside its golden case."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.estimators.nuwave2 import LOG_SNRS, NuWave2Network, level_of
from codecbwe_jax.nn.init import fresh_variables

SMALL = NuWave2Network(64, 16, 2, 8, 12, 6, 10)


def inputs(samples: int = 128, bins: int = 33) -> list[Any]:
    rng = np.random.default_rng(0)
    noisy, low = rng.standard_normal((2, 2, samples)).astype(np.float32)
    band = np.arange(bins) < np.array([[bins // 3], [bins // 2]])
    return [noisy, low, np.array([0.4, 0.6], np.float32), band]


def parameters(network: NuWave2Network, given: list[Any]) -> Any:
    structs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given]
    return fresh_variables(network, jax.random.key(0), *structs)


def test_official_size_and_first_values() -> None:
    """The number is the original's; Kaiming's values are normal to their tails."""
    params = parameters(NuWave2Network(), inputs(1024, 513))["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == 1_711_681
    layer = params["residual_layers_0"]["ffc1"]
    near, unit = layer["convl2l"]["kernel"], layer["convg2g"]["fu"]
    assert np.std(near) == pytest.approx(np.sqrt(2 / 96), rel=0.05)
    assert np.max(np.abs(near)) > 2.5 * np.std(near)  # two of its own where it were truncated
    assert np.std(unit["conv_layer"]) == pytest.approx(np.sqrt(2 / 64), rel=0.05)
    assert np.max(np.abs(unit["bsft"]["mlp_shared"]["kernel"])) <= np.sqrt(1 / 6)
    assert np.max(np.abs(unit["bsft"]["mlp_gamma"]["bias"])) <= np.sqrt(1 / 192)


def test_an_item_gives_what_it_gives_alone() -> None:
    """With its own level and band."""
    given = inputs()
    params = parameters(SMALL, given)
    both = SMALL.apply(params, *given)
    for i in range(2):
        alone = SMALL.apply(params, *(x[i : i + 1] for x in given))
        np.testing.assert_allclose(both[i : i + 1], alone, atol=1e-5)
    assert not np.allclose(SMALL.apply(params, *given[:2], given[2][::-1], given[3]), both)


def test_a_band_is_a_band() -> None:
    """Numbers say what booleans do, and nothing known is another input than all known."""
    *given, band = inputs()
    params = parameters(SMALL, [*given, band])
    outs = [SMALL.apply(params, *given, b) for b in (band, band.astype(np.int32), band & False)]
    np.testing.assert_array_equal(outs[0], outs[1])
    everything = SMALL.apply(params, *given, band | True)
    assert np.all(np.isfinite(outs[2]))
    assert np.max(np.abs(everything - outs[2])) > 1e-2


def test_bfloat16_is_near() -> None:
    given = inputs()
    params = parameters(SMALL, given)
    out = SMALL.clone(dtype=jnp.bfloat16).apply(params, *given)
    full = SMALL.apply(params, *given)
    assert out.dtype == jnp.float32
    assert np.max(np.abs(out - full)) < 0.05 * np.max(np.abs(full))


def test_samples_are_whole_hops() -> None:
    with pytest.raises(ValueError, match="120 samples are no whole hops of 16"):
        parameters(SMALL, inputs(120))


def test_levels_run_from_noise_to_the_end_of_the_scale() -> None:
    levels = level_of(np.asarray(LOG_SNRS, np.float32))
    assert levels.time.dtype == np.float32
    assert levels.time[0] == pytest.approx(22.6 / 40)
    assert levels.time[-1] == 0
    assert np.all(np.diff(levels.sigma) < 0)
    assert levels.sigma[-1] == pytest.approx(np.exp(-10), rel=1e-4)
