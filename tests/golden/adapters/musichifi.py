"""MusicHiFi-BWE: the generator, its mel spectrum, the interpolated input beside it."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.errors import UserError
from codecbwe_jax.nn.snake import AntiAliasedSnake, kaiser_sinc_taps, snake, upsample
from codecbwe_jax.systems.musichifi_bwe import RESAMPLER, MusicHifiBwe
from codecbwe_jax.weights.rules import from_torch
from tests.golden.case import Case
from tests.golden.networks import Names, Values, folded, names, run, swap, tuples
from tests.golden.settings import NotSupportedError, Settings


def build(c: Settings) -> MusicHifiBwe:
    settings = {
        "channels": c["hidden"],
        "up_factors": tuples(c["up_factors"]),
        "up_kernels": tuples(c["up_kernels"]),
        "kernels": tuples(c["res_kernels"]),
        "dilations": tuples(c["res_dilations"]),
        "n_fft": c["n_fft"],
        "hop_length": c["hop"],
        "n_mels": c["num_mel"],
    }
    try:
        return MusicHifiBwe(**settings)
    except UserError as refusal:
        raise NotSupportedError(str(refusal)) from None


def parameters(case: Case, system: MusicHifiBwe) -> Any:
    constants = system.torch_constants
    for name, ours in constants.items():
        # one float32 rounding of values up to 1
        np.testing.assert_allclose(ours, case.weights[name], atol=1e-7)
    weights = {k: v for k, v in case.weights.items() if k not in constants}
    like = jax.eval_shape(system.init, jax.random.key(0))
    return from_torch(system.torch_rules, weights, like)


def musichifi_bwe(case: Case) -> Values:
    case.small.only("channels", 1)  # two are extended one by one, after mixing
    system = build(case.small)
    params = parameters(case, system)
    x = case.given("x")[:, 0]
    mel = jax.jit(system.log_mel)(params, x)
    residual, inner = run(system.network, params["generator"], mel)
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % system.hop_length)))
    magnitudes = swap(jax.jit(system.magnitudes)(x))
    ratio = system.output_rate // system.input_rate
    kernel, width = sinc_kernel(1, ratio, SINC_FILTERS[RESAMPLER])
    # the filter at the high rate, whose samples the phases take in turn
    whole = kernel[:, : 2 * width + 1][:, ::-1].T.reshape(-1)[: 2 * ratio * width + 1] / ratio
    results: Values = {
        "mel": np.asarray(swap(mel))[:, None],
        "mag_sub": magnitudes[:, ::4],  # the case keeps every fourth bin
        "residual": np.asarray(residual)[:, None],
        "skip": np.asarray(jax.jit(system.skip)(padded))[:, None],
        "y": np.asarray(jax.jit(lambda p, x: system.extend(p, x))(params, x))[:, None],
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
    own = generator["resblocks_0"]["activations_0"]

    @jax.jit
    def compute(x: jax.Array) -> list[jax.Array]:
        def joined(parts: Any) -> jax.Array:
            return jnp.stack(parts, axis=2).reshape(x.shape[0], -1, x.shape[2])

        phases = upsample(x)
        bent = [snake(p, jnp.exp(own["alpha"]), jnp.exp(own["beta"])) for p in phases]
        return [joined(phases), joined(bent), AntiAliasedSnake().apply({"params": own}, x)]

    values = compute(swap(case.given("act_in")))
    return dict(zip(("act_up", "act_snake", "act_out"), map(swap, values), strict=True))


def full_musichifi(c: Settings) -> Names:
    """For one channel, with folded weights; the released network takes two at once."""
    system = build(c)
    ours = folded(names(system.torch_rules, jax.eval_shape(system.init, jax.random.key(0))))
    ours |= {name: list(value.shape) for name, value in system.torch_constants.items()}
    return {f"mono/{k}": v for k, v in ours.items()}


ADAPTERS = {"musichifi_bwe": musichifi_bwe}
FULL_NETWORKS = {"musichifi_bwe": full_musichifi}
