"""FLowHigh: its network and flows, its vocoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.cutoff import bins_below, energy_cut
from codecbwe_jax.audio.splice import join_bins
from codecbwe_jax.estimators.flowhigh import LOGIT_SCALE, ROTARY_BASE, FlowHighNetwork
from codecbwe_jax.nn.rotary import frequencies
from codecbwe_jax.nn.snake import kaiser_sinc_taps
from codecbwe_jax.solvers import paths
from codecbwe_jax.solvers.guidance import guided
from codecbwe_jax.solvers.ode import solve
from codecbwe_jax.weights.rules import from_torch
from tests.golden.adapters.bigvgan import build as build_vocoder
from tests.golden.adapters.bigvgan import full_bigvgan, without_filters
from tests.golden.case import Case
from tests.golden.networks import Names, Values, load, names, run, shapes, swap

ROTATIONS = "transformer.rotary_emb.inv_freq"
PATH_SHARE = 0.9995  # of the energy that says where the known band of a mel ends


def build(c: Any) -> FlowHighNetwork:
    c.only("architecture", "transformer")
    c.only("attn_qk_norm", True)
    c.only("qk_norm_scale", LOGIT_SCALE)
    c.only("rotary_theta", ROTARY_BASE)
    c.only("time_hidden_dim", c["dim"])
    return FlowHighNetwork(
        size=c["dim"],
        layers=c["depth"],
        heads=c["heads"],
        head_size=c["dim_head"],
        intermediate=int(c["dim"] * c.get("ff_mult", 4) * 2 / 3),
        kernel_size=c["conv_pos_embed_kernel_size"],
    )


def parameters(network: FlowHighNetwork, mels: int) -> Any:
    frames = (1, 4, mels)
    return shapes(network, frames, frames, (1,))


def loaded(case: Case, network: FlowHighNetwork) -> Any:
    """Its parameters; the rotations beside them must be ours, but for their powers' rounding."""
    stored, ours = case.weights[ROTATIONS], frequencies(network.head_size, ROTARY_BASE)
    np.testing.assert_allclose(stored, ours, rtol=3e-7)
    weights = {k: v for k, v in case.weights.items() if k != ROTATIONS}
    return load(network.torch_rules, weights, parameters(network, case.small["dim_in"]))


def flowhigh(case: Case) -> Values:
    network = build(case.small)
    params = loaded(case, network)
    return (
        of_network(case, network, params)
        | of_training(case, network, params)
        | of_sampling(case, network, params)
    )


def of_network(case: Case, network: FlowHighNetwork, params: Any) -> Values:
    x, condition, t = (case.given(f"net/in_{n}") for n in ("x", "cond", "times"))
    valid, judged = (case.given(f"net/in_{n}").astype(bool) for n in ("mask", "cond_mask"))
    lengths = valid.sum(1, dtype=np.int32)
    np.testing.assert_array_equal(valid, np.arange(x.shape[1]) < lengths[:, None])
    target = case.given("cfm/in_x1")
    guidance = {k: float(k.removeprefix("net/out_cfg_scale")) for k in case.io if "cfg_scale" in k}

    @jax.jit
    def outputs(x: jax.Array, t: jax.Array) -> Values:
        def field(x: jax.Array, t: jax.Array, lengths: Any = None, drop: bool = False) -> jax.Array:
            dropped = jnp.full(len(x), drop)
            return network.apply({"params": params}, x, condition, t, lengths, dropped)

        def untold(x: jax.Array, t: jax.Array) -> jax.Array:
            return field(x, t, drop=True)

        masked = field(x, t, lengths)
        counted = judged & valid
        errors = jnp.mean(jnp.square(masked - target), axis=-1)
        per_item = jnp.sum(errors * counted, axis=1) / jnp.sum(counted, axis=1)
        return {
            "net/out_null_cond": untold(x, t),
            "net/out_masked": masked,
            "net/out_masked_mse": jnp.mean(per_item),
            **{name: guided(field, untold, scale)(x, t) for name, scale in guidance.items()},
        }

    field, inner = run(network, params, x, condition, t)
    results = outputs(x, t) | {
        "net/out_vector_field": field,
        "net/embed": inner["to_embed"],
        "net/conv_embed_before_residual": inner["conv_embed"],
        "net/time_fourier": inner["fourier"],
        "net/time_emb": jax.nn.silu(inner["time"]),
        "net/transformer_out": inner["final_norm"],
    }
    for i in range(network.layers):
        for name, part in (
            ("attn_prenorm", "attention_norm"),
            ("attn_out", "attention"),
            ("ff_out", "feed_forward"),
        ):
            results[f"net/layer{i}_{name}"] = inner[f"layers_{i}/{part}"]
    return results


def path_of(method: str, sigma: float, known: jax.Array) -> paths.Path:
    """A path by the original's name; `known` are the mels that the prior holds."""
    match method:
        case "basic_cfm":
            return paths.basic(sigma)
        case "independent_cfm_adaptive":
            return paths.adaptive(sigma)
        case "independent_cfm_constant":
            return paths.constant(sigma)
        case "independent_cfm_mix":
            return paths.constant(sigma).where(known, paths.basic(sigma))
    raise KeyError(method)


def begun(method: str, gain: float, deviation: float, known: jax.Array) -> paths.Path:
    """A path that a sampler begins anew with a gain of the prior and a deviation of the noise; but
    where it is basic, as it is."""
    basic = paths.basic(0.0)
    informed = basic._replace(informed=gain, first=deviation)
    return {"basic_cfm": basic, "independent_cfm_mix": informed.where(known, basic)}.get(
        method, informed
    )


def cropped(x: jax.Array, offsets: jax.Array, lengths: jax.Array, frames: int) -> jax.Array:
    """As many frames of each item `[B, T, C]` from its offset on; zeros after its length."""
    places = jnp.minimum(offsets[:, None] + jnp.arange(frames), x.shape[1] - 1)
    there = jnp.arange(frames) < lengths[:, None]
    taken = jnp.take_along_axis(x, places[..., None], axis=1)
    return jnp.where(there[..., None], taken, 0)


def of_training(case: Case, network: FlowHighNetwork, params: Any) -> Values:
    clean, condition, noise, t, lengths = (
        case.given(f"cfm/in_{n}") for n in ("x1", "cond", "epsilon", "t", "cond_lengths")
    )
    offsets, sigma = case.given("cfm/crop_offsets"), case.small["sigma"]
    frames = 2 * case.small["sampling_rate_for_crop"] // case.small["hop_for_crop"]
    case.small.follows("crop_frames", frames)
    methods = [found[1] for n in sorted(case.io) if (found := re.fullmatch("cfm/(.*)/loss", n))]

    @jax.jit
    def compute(clean: jax.Array, condition: jax.Array) -> Values:
        cut = energy_cut(jnp.exp(condition), PATH_SHARE)
        found: Values = {"cfm/cutoff_bins": cut}
        for method in methods:
            path = path_of(method, sigma, bins_below(cut, clean.shape[2]))
            x, velocity, told = (
                cropped(y, offsets, lengths, frames)
                for y in (
                    path.mix(clean, condition, noise, t),
                    path.velocity(clean, condition, noise),
                    condition,
                )
            )
            said = network.apply({"params": params}, x, told, t)
            found |= {
                f"cfm/{method}/w_cropped": x,
                f"cfm/{method}/flow_cropped": velocity,
                f"cfm/{method}/cond_cropped": told,
                f"cfm/{method}/loss": jnp.mean(jnp.square(said - velocity)),
            }
        return found

    return compute(clean, condition)


SAMPLED = re.compile(
    r"sample/(?P<method>\w+_cfm|independent_cfm_[a-z]+)_(?P<solver>euler|midpoint)(?P<steps>\d+)"
    r"(?:_std(?P<gain>[\d.]+)_(?P<deviation>[\d.]+))?(?P<spliced>_mel_pp)?"
)


def of_sampling(case: Case, network: FlowHighNetwork, params: Any) -> Values:
    condition, noise = case.given("sample/in_cond"), case.given("sample/in_noise")
    prefix = "sample/mel_cutoff_bins_p"
    shares = {n: float(n.removeprefix(prefix)) for n in case.io if n.startswith(prefix)}
    sampled = {n: found for n in case.io if (found := SAMPLED.fullmatch(n))}

    @jax.jit
    def compute(condition: jax.Array) -> Values:
        mels = jnp.exp(condition)
        cut = energy_cut(mels, PATH_SHARE)
        found: Values = {name: energy_cut(mels, share) for name, share in shares.items()}

        def field(x: jax.Array, t: jax.Array) -> jax.Array:
            return network.apply({"params": params}, x, condition, t)

        for name, how in sampled.items():
            gain = float(how["gain"] or 1)
            deviation = float(how["deviation"] or case.small["sigma"])
            path = begun(how["method"], gain, deviation, bins_below(cut, condition.shape[2]))
            times = jnp.linspace(0, 1, int(how["steps"]) + 1)
            out = solve(field, path.start(condition, noise), times, how["solver"])
            found[name] = join_bins(condition, out, cut) if how["spliced"] else out
        return found

    return compute(condition)


def flowhigh_bigvgan(case: Case) -> Values:
    """The vocoder, with weight norms, and without, as FLowHigh's checkpoints hold it."""
    network = build_vocoder(case.small)
    mel = swap(case.given("mel"))
    case.small.follows("num_mels", mel.shape[2])
    like, weights = shapes(network, mel.shape), without_filters(case.weights)
    audio, inner = run(network, load(network.torch_rules, weights, like), mel)
    plain = from_torch(network.torch_rules, without_norms(weights), like)
    again = jax.jit(network.apply)({"params": plain}, mel)
    results = {name: swap(inner[name]) for name in ("conv_pre", "activation_post")}
    for key in inner:
        if re.fullmatch(r"(ups|resblocks)_\d+", key):
            results[key.replace("_", "").replace("blocks", "block")] = swap(inner[key])
        elif found := re.fullmatch(r"resblocks_(\d+)/activations_(\d+)", key):
            name = f"resblock{found[1]}_act{found[2]}"
            results |= {name: swap(inner[key])} if name in case.io else {}
    taps = {name: kaiser_sinc_taps()[None, None] for name in ("filter_up", "filter_down")}
    out = {"out_wav": audio[:, None], "out_wav@without_weight_norm": again[:, None]}
    return results | taps | out


def without_norms(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weight norms made into the weights that they stand for."""
    plain: dict[str, np.ndarray] = {}
    for key, value in weights.items():
        if key.endswith("weight_v"):
            axes = tuple(range(1, value.ndim))
            norm = np.sqrt(np.sum(np.square(value), axis=axes, keepdims=True))
            plain[key.removesuffix("_v")] = value * (weights[f"{key[:-1]}g"] / norm)
        elif not key.endswith("weight_g"):
            plain[key] = value
    return plain


def full_network(c: Any) -> Names:
    network = build(c)
    return names(network.torch_rules, parameters(network, c["dim_in"]))


# what the case says of a file that is published with the weights alone
VOCODER = {
    "upsample_initial_channel": 512,
    "upsample_rates": [6, 5, 4, 2, 2],
    "upsample_kernel_sizes": [12, 10, 8, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "resblock": "1",
    "activation": "snakebeta",
    "snake_logscale": True,
}


def full_vocoder(c: Mapping[str, Any]) -> Names:
    return full_bigvgan({**VOCODER, "num_mels": c["num_mels"]})


ADAPTERS = {
    "flowhigh": flowhigh,
    "flowhigh_bigvgan": flowhigh_bigvgan,
}
FULL_NETWORKS = {"flowhigh": full_network, "flowhigh_bigvgan": full_vocoder}
