"""BigVGAN: the generator, its activation by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.decoders.bigvgan import BigVgan
from codecbwe_jax.nn.snake import (
    TAPS_PER_RATIO,
    AntiAliasedSnake,
    kaiser_sinc_taps,
    snake,
    upsample,
)
from codecbwe_jax.weights.rules import Rule
from tests.golden.case import Case
from tests.golden.networks import Names, Values, load, names, part, run, shapes, swap

FILTERS = re.compile(r".*(upsample|lowpass)\.filter")
ACTIVATIONS = {"snake": False, "snakebeta": True}  # has it a beta of its own?


def build(c: Mapping[str, Any]) -> BigVgan:
    return BigVgan(
        c["upsample_initial_channel"],
        c["upsample_rates"],
        c["upsample_kernel_sizes"],
        c["resblock_kernel_sizes"],
        c["resblock_dilation_sizes"],
        {"1": 2, "2": 1}[c["resblock"]],
        ACTIVATIONS[c["activation"]],
        c["snake_logscale"],
        "tanh" if c.get("use_tanh_at_final", True) else "clip",
        c.get("use_bias_at_final", True),
    )


def without_filters(weights: Mapping[str, np.ndarray], ratio: int = 2) -> dict[str, np.ndarray]:
    """The trained weights; the filters beside them must be ours."""
    for key in filter(FILTERS.fullmatch, weights):
        # one float32 rounding of the largest tap
        np.testing.assert_allclose(weights[key][0, 0], kaiser_sinc_taps(ratio), atol=1e-7)
    return {k: v for k, v in weights.items() if not FILTERS.fullmatch(k)}


def bigvgan(case: Case) -> Values:
    network = build(case.small)
    mel = swap(case.given("in.mel"))
    case.small.follows("num_mels", mel.shape[2])
    params = load(network.torch_rules, without_filters(case.weights), shapes(network, mel.shape))
    audio, inner = run(network, params, mel)
    results = {name: swap(inner[name]) for name in ("conv_pre", "conv_post", "activation_post")}
    for key in inner:
        if re.fullmatch(r"(ups|resblocks)_\d+", key):
            results[key.replace("_", ".")] = swap(inner[key])
    return results | {"audio": np.asarray(audio)[:, None]}


def bigvgan_activation1d(case: Case) -> Values:
    results: Values = {}
    for c in case.small["activations"]:
        name, ratio = c["name"], c["up_ratio"]
        c.only("down_ratio", ratio)
        c.only("up_kernel_size", TAPS_PER_RATIO * ratio)
        c.only("down_kernel_size", TAPS_PER_RATIO * ratio)
        network = AntiAliasedSnake(ACTIVATIONS[c["activation"]], c["alpha_logscale"], ratio)
        x = swap(case.given(f"in.{name}.x"))
        c.follows("channels", x.shape[2])
        c.follows("length", x.shape[1])
        own = without_filters(part(case.weights, f"{name}."), ratio)
        params = load((Rule("{x}", "act.{x}", "array"),), own, shapes(network, x.shape))
        results |= {f"{name}.{k}": swap(v) for k, v in activated(network, params, x).items()}
    return results


def activated(network: AntiAliasedSnake, params: Any, x: np.ndarray) -> Values:
    """The activation, its stages, and what it is without filters."""
    pair = params["alpha"], params.get("beta", params["alpha"])
    pair = tuple(np.exp(p) for p in pair) if network.logarithmic else pair

    @jax.jit
    def compute(x: jax.Array) -> Values:
        phases = jnp.stack(upsample(x, network.ratio), axis=2)
        up = phases.reshape(x.shape[0], -1, x.shape[2])
        return {
            "upsampled": up,
            "activated": snake(up, *pair),
            "plain_snake": snake(x, *pair),
            "y": network.apply({"params": params}, x),
        }

    return compute(x)


def full_bigvgan(c: Mapping[str, Any]) -> Names:
    network = build(c)
    return names(network.torch_rules, shapes(network, (1, 4, c["num_mels"])))


ADAPTERS = {
    "bigvgan": bigvgan,
    "bigvgan_snake_tanh": bigvgan,
    "bigvgan_activation1d": bigvgan_activation1d,
}
FULL_NETWORKS = {"bigvgan": full_bigvgan, "bigvgan_snake_tanh": full_bigvgan}
