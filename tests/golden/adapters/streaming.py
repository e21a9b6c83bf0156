"""Streaming networks: Opus' extension, and the noise-substituting quantiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.nn.nsvq import Nsvq, nearest, substitute
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


def nsvq(case: Case) -> Values:
    x, noise = case.given("x"), case.given("random")
    codebook = case.weights["codebooks"]
    indices = nearest(x, codebook)

    def trained(x: Any, codebook: Any) -> Any:
        return substitute(x, codebook[indices], noise)

    out, pullback = jax.vjp(trained, x, jnp.asarray(codebook))
    grad_x, grad_codebook = pullback(case.given("cotangent"))
    counts = np.bincount(indices, minlength=len(codebook))
    shares = counts / counts.sum()
    quantiser = Nsvq(len(codebook))
    return {
        "indices": indices,
        "out_train": out,
        "out_inference": quantiser.apply({"params": {"codebooks": codebook}}, x),
        "grad_x": grad_x,
        "grad_codebook": grad_codebook,
        # the original counts the batches that used a code, not the uses
        "counts": (counts > 0).astype(np.int32),
        "perplexity": np.exp(-np.sum(shares * np.log(shares + 1e-12))),
    }


ADAPTERS = {"nsvq": nsvq, "opus_bbwenet": opus_bbwenet}
FULL_NETWORKS = {"opus_bbwenet": full_opus}
