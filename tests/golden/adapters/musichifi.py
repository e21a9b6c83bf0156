"""MusicHiFi-BWE: the generator, its mel spectrum, the interpolated input beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.interop.weights import from_torch
from codecbwe_jax.nn.snake import AntiAliasedSnake, kaiser_sinc_taps, snake, upsample
from codecbwe_jax.systems.musichifi_bwe import RESAMPLER, MusicHifiBwe
from tests.golden.case import Case
from tests.golden.networks import Values, run, swap


def build(c: Mapping[str, Any]) -> MusicHifiBwe:
    return MusicHifiBwe(
        channels=c["hidden"],
        up_factors=tuple(c["up_factors"]),
        up_kernels=tuple(c["up_kernels"]),
        kernels=tuple(c["res_kernels"]),
        dilations=tuple(tuple(d) for d in c["res_dilations"]),
        n_fft=c["n_fft"],
        hop_length=c["hop"],
        n_mels=c["num_mel"],
    )


def parameters(case: Case, system: MusicHifiBwe) -> Any:
    constants = system.torch_constants
    for name, ours in constants.items():
        # one float32 rounding of values up to 1
        np.testing.assert_allclose(ours, case.weights[name], atol=1e-7)
    weights = {k: v for k, v in case.weights.items() if k not in constants}
    like = jax.eval_shape(system.init, jax.random.key(0))
    return from_torch(system.torch_rules, weights, like)


def musichifi_bwe(case: Case) -> Values:
    system = build(case.small)
    params = parameters(case, system)
    x = case.given("x")[:, 0]
    mel = system.log_mel(params, x)
    residual, inner = run(system.network, params["generator"], mel)
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % system.hop_length)))
    magnitudes = np.asarray(swap(system.magnitudes(x)))
    kernel, width = sinc_kernel(1, 3, SINC_FILTERS[RESAMPLER])
    # the filter at the high rate, whose samples the phases take in turn
    whole = kernel[:, : 2 * width + 1][:, ::-1].T.reshape(-1) / 3
    middle, side = 3 * width, case.io["resample_filter"].size // 2
    whole = whole[middle - side : middle + side + 1]
    results: Values = {
        "mel": np.asarray(swap(mel))[:, None],
        "mag_sub": magnitudes[:, :: -(-magnitudes.shape[1] // case.io["mag_sub"].shape[1])],
        "residual": np.asarray(residual)[:, None],
        "skip": np.asarray(system.skip(padded))[:, None],
        "y": np.asarray(system.extend(params, x, None))[:, None],
        "kaiser_up_filter": kaiser_sinc_taps()[None, None],
        "kaiser_down_filter": kaiser_sinc_taps()[None, None],
        "resample_filter": whole[None, None],
        "gen_conv_in_flat_sub": flat(case, "conv_in", inner["conv_pre"]),
        "gen_act_out_flat_sub": flat(case, "act_out", inner["activation_post"]),
    }
    for key in inner:
        if found := re.fullmatch(r"(ups|resblocks)_(\d+)", key):
            name = {"ups": "up", "resblocks": "res"}[found[1]] + found[2]
            results[f"gen_{name}_flat_sub"] = flat(case, name, inner[key])
    return results | one_activation(case, params["generator"])


def flat(case: Case, name: str, value: Any) -> np.ndarray:
    _, step = case.config["sub_strides"][name]
    return swap(value)[:1].reshape(-1)[::step]  # the case holds the first item


def one_activation(case: Case, generator: Any) -> Values:
    """The first activation by itself."""
    x = swap(case.given("act_in"))
    own = generator["resblocks_0"]["activations_0"]
    alpha, beta = (np.exp(own[name]) for name in ("alpha", "beta"))
    phases = upsample(x)

    def joined(parts: Any) -> np.ndarray:
        return swap(jnp.stack(parts, axis=2).reshape(x.shape[0], -1, x.shape[2]))

    return {
        "act_up": joined(phases),
        "act_snake": joined([snake(p, alpha, beta) for p in phases]),
        "act_out": swap(AntiAliasedSnake().apply({"params": own}, x)),
    }


ADAPTERS = {"musichifi_bwe": musichifi_bwe}
