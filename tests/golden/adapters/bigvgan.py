"""BigVGAN: the generator, its activation by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from codecbwe_jax.decoders.bigvgan import BigVgan
from codecbwe_jax.interop.weights import Rule
from codecbwe_jax.nn.snake import AntiAliasedSnake, kaiser_sinc_taps, snake, upsample
from tests.golden.case import Case
from tests.golden.networks import Values, load, run, shapes, swap

FILTERS = re.compile(r".*(upsample|lowpass)\.filter")


def build(c: Mapping[str, Any]) -> BigVgan:
    return BigVgan(
        c["upsample_initial_channel"],
        c["upsample_rates"],
        c["upsample_kernel_sizes"],
        c["resblock_kernel_sizes"],
        c["resblock_dilation_sizes"],
        2 if c["resblock"] == "1" else 1,
        c["activation"] == "snakebeta",
        c["snake_logscale"],
        "tanh" if c.get("use_tanh_at_final", True) else "clip",
        c.get("use_bias_at_final", True),
    )


def bigvgan(case: Case) -> Values:
    network = build(case.small)
    mel = swap(case.given("in.mel"))
    weights = {k: v for k, v in case.weights.items() if not FILTERS.fullmatch(k)}
    for key in case.weights.keys() - weights.keys():
        np.testing.assert_allclose(case.weights[key][0, 0], kaiser_sinc_taps(), atol=1e-7)
    params = load(network.torch_rules, weights, shapes(network, mel.shape))
    audio, inner = run(network, params, mel)
    names = {"conv_pre", "conv_post", "activation_post"}
    results = {name: swap(inner[name]) for name in names}
    for kind in ("ups", "resblocks"):
        found = [k for k in inner if re.fullmatch(rf"{kind}_\d+", k)]
        results |= {k.replace("_", "."): swap(inner[k]) for k in found}
    return results | {"audio": np.asarray(audio)[:, None]}


def bigvgan_activation1d(case: Case) -> Values:
    results: Values = {}
    for c in case.small["activations"]:
        name, ratio = c["name"], c["up_ratio"]
        network = AntiAliasedSnake(c["activation"] == "snakebeta", c["alpha_logscale"], ratio)
        x = swap(case.given(f"in.{name}.x"))
        own = {k.removeprefix(f"{name}."): v for k, v in case.weights.items() if name in k}
        for key in [k for k in own if FILTERS.fullmatch(k)]:
            # one float32 rounding of the largest tap
            np.testing.assert_allclose(own.pop(key)[0, 0], kaiser_sinc_taps(ratio), atol=1e-7)
        params = load((Rule("{x}", "act.{x}", "array"),), own, shapes(network, x.shape))
        y, _ = run(network, params, x)
        pair = params["alpha"], params.get("beta", params["alpha"])
        pair = tuple(jnp.exp(p) for p in pair) if network.logarithmic else pair
        up = jnp.stack(upsample(x, ratio), axis=2).reshape(x.shape[0], -1, x.shape[2])
        results |= {
            f"{name}.upsampled": swap(up),
            f"{name}.activated": swap(snake(up, *pair)),
            f"{name}.plain_snake": swap(snake(x, *pair)),
            f"{name}.y": swap(y),
        }
    return results


def full_bigvgan(c: Mapping[str, Any]) -> tuple[Any, Any]:
    network = build({"snake_logscale": True, **c})
    return network.torch_rules, shapes(network, (1, 4, c["num_mels"]))


ADAPTERS = {
    "bigvgan": bigvgan,
    "bigvgan_snake_tanh": bigvgan,
    "bigvgan_activation1d": bigvgan_activation1d,
}
FULL_NETWORKS = {"bigvgan": full_bigvgan, "bigvgan_snake_tanh": full_bigvgan}
