"""Streaming networks: Opus' extension, and the noise-substituting quantiser."""

from __future__ import annotations

import jax
import numpy as np

from codecbwe_jax.nn.nsvq import Nsvq, codes_used, nearest, substitute
from codecbwe_jax.systems.opus_bbwe import (
    BAND_CENTRES,
    DoubleRate,
    OpusBbwe,
    ThreeHalvesRate,
    band_filters,
    fold_over,
)
from codecbwe_jax.weights.rules import Rule
from tests.golden.case import Case
from tests.golden.networks import Names, Values, load, names, run, swap
from tests.golden.settings import Settings


def build_opus(c: Settings) -> OpusBbwe:
    c.only("feature_dim", 114)
    c.only("avg_pool_k32", 8)
    c.only("avg_pool_k48", 12)
    c.only("interpolate_k32", 2)
    c.only("interpolate_k48", 2)
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

    @jax.jit
    def impulses(x: jax.Array) -> list[jax.Array]:
        twice = DoubleRate().apply({}, x)
        return [twice, ThreeHalvesRate().apply({}, twice)]

    twice, thrice = impulses(swap(case.given("impulse_in")))
    fold = jax.jit(fold_over)
    return {
        "features": inner["features"],
        "cond": inner["feature_net"],
        "shape32": inner["tdshape1"][:, None],
        "shape48": inner["tdshape2"][:, None],
        "func32": np.asarray(fold(np.asarray(inner["up32"])[..., 2]))[:, None],
        "func48": np.asarray(fold(np.asarray(inner["up48"])[..., 2]))[:, None],
        "y": np.asarray(y)[:, None],
        "impulse_up2": swap(twice),
        "impulse_up3": swap(thrice),
        "erb_filterbank": band_filters(),
        "erb_center_bins": np.array(BAND_CENTRES),
        **{name: swap(inner[name]) for name in ("af1", "af2", "up32", "up48")},
    }


def full_opus(c: Settings) -> Names:
    system = build_opus(c)
    ours = names(system.torch_rules, jax.eval_shape(system.init, jax.random.key(0)))
    return ours | {name: list(value.shape) for name, value in system.torch_constants.items()}


def nsvq(case: Case) -> Values:
    c, x, noise = case.small, case.given("x"), case.given("random")
    cotangent, codes = case.given("cotangent"), c["num_embeddings"]
    c.follows("embedding_dim", x.shape[1])
    c.follows("N", x.shape[0])
    params = load(NSVQ_RULES, case.weights, {"codebooks": np.zeros((codes, x.shape[1]))})

    @jax.jit
    def compute(x: jax.Array, codebook: jax.Array) -> Values:
        indices = nearest(x, codebook)

        def trained(x: jax.Array, codebook: jax.Array) -> jax.Array:
            return substitute(x, codebook[indices], noise)

        out, pullback = jax.vjp(trained, x, codebook)
        grad_x, grad_codebook = pullback(cotangent)
        return {
            "indices": indices,
            "out_train": out,
            "out_inference": Nsvq(codes).apply({"params": {"codebooks": codebook}}, x),
            "grad_x": grad_x,
            "grad_codebook": grad_codebook,
            # the original too counts the batches that used a code, not the uses
            "counts": codes_used(indices, codes).astype(np.int32),
        }

    case.leave_out("perplexity", "ours reports none; it follows from the indices")
    return compute(x, params["codebooks"])


NSVQ_RULES = (Rule("codebooks", "codebooks", "array"),)

ADAPTERS = {"nsvq": nsvq, "opus_bbwenet": opus_bbwenet}
FULL_NETWORKS = {"opus_bbwenet": full_opus}
