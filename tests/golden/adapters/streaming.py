"""Streaming networks: Opus' extension, and the noise-substituting quantiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from codecbwe_jax.systems.opus_bbwe import (
    BAND_CENTRES,
    DoubleRate,
    OpusBbwe,
    ThreeHalvesRate,
    band_filters,
    fold_over,
)
from tests.golden.case import Case
from tests.golden.networks import Values, load, run, swap


def build_opus(c: Mapping[str, Any]) -> OpusBbwe:
    return OpusBbwe(size=c["cond_dim"], taps=tuple(c[f"kernel_size{k}"] for k in (16, 32, 48)))


def opus_bbwenet(case: Case) -> Values:
    system = build_opus(case.small)
    constants = system.torch_constants
    for name, ours in constants.items():
        # float32 roundings of values below 1, of all-pass sections one after another
        np.testing.assert_allclose(ours, case.weights[name], atol=2e-7)
    weights = {k: v for k, v in case.weights.items() if k not in constants}
    like = jax.eval_shape(system.init, jax.random.key(0))
    params = load(system.torch_rules, weights, like)
    x = case.given("x")[:, 0]
    y, inner = run(system.network, params, x)
    impulse = case.given("impulse_in").swapaxes(1, 2)
    up2 = DoubleRate().apply({}, impulse)
    return {
        "features": inner["features"],
        "cond": inner["feature_net"],
        "shape32": inner["tdshape1"][:, None],
        "shape48": inner["tdshape2"][:, None],
        "func32": np.asarray(fold_over(inner["up32"][..., 2]))[:, None],
        "func48": np.asarray(fold_over(inner["up48"][..., 2]))[:, None],
        "y": np.asarray(y)[:, None],
        "impulse_up2": swap(up2),
        "impulse_up3": swap(ThreeHalvesRate().apply({}, up2)),
        "erb_filterbank": band_filters(),
        "erb_center_bins": np.array(BAND_CENTRES),
        **{name: swap(inner[name]) for name in ("af1", "af2", "up32", "up48")},
    }


def full_opus(c: Mapping[str, Any]) -> tuple[Any, Any]:
    system = build_opus(c)
    return system.torch_rules, jax.eval_shape(system.init, jax.random.key(0))


ADAPTERS = {"opus_bbwenet": opus_bbwenet}
FULL_NETWORKS = {"opus_bbwenet": full_opus}
