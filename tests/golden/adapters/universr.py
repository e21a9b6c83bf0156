"""UniverSR: the network at two input rates, its path and samplers, its transform."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.compressed_spectrum import CompressedSpectrum
from codecbwe_jax.estimators.universr import UniversrNetwork, join, rate_index, split
from codecbwe_jax.estimators.universr_condition import frequency_code
from codecbwe_jax.evaluation.metrics import spectrum
from codecbwe_jax.solvers.guidance import guided
from codecbwe_jax.solvers.ode import solve
from codecbwe_jax.solvers.paths import basic
from tests.golden.case import Case, Check
from tests.golden.networks import Names, Values, load, names, run, swap

CODE = "freq_pos_enc.pe"
INSIDE = {  # the case's names of our layers
    r"init_conv": "init_conv_1",
    r"encoder(\d+)": "encoders_{}",
    r"encoder(\d+)_block(\d+)": "encoders_{}/blocks_{}",
    r"midcoder": "midcoder",
    r"decoder(\d+)": "decoders_{}",
    r"decoder(\d+)_block(\d+)": "decoders_{}/blocks_{}",
}
# |Y| of a bin whose float32 rounding is not yet enlarged beyond its tolerance: at |X| = 0.03
FULL = 0.5


def image(x: Any) -> np.ndarray:
    """`[B, T, F, C]` <-> `[B, C, F, T]`."""
    return np.asarray(x).transpose(0, 3, 2, 1)


def build(c: Mapping[str, Any]) -> UniversrNetwork:
    return UniversrNetwork(
        c["dims"],
        c["depths"],
        c["time_dim"],
        c["cond_dim"],
        c["feature_enc_layers"],
        c["total_freq_bins"],
        c["hr_freq_bins"],
        len(c["sr_to_lr_bins"]),
    )


def known_bins(c: Mapping[str, Any]) -> dict[int, int]:
    return {1000 * int(khz): c["sr_to_lr_bins"][khz] for khz in c["sr_to_lr_bins"]}


def shapes(network: UniversrNetwork) -> Any:
    spectrum = (1, network.least_frames, network.generated_bins, 2)
    known = jnp.zeros((1, network.least_frames, 4, 2))
    init = jax.eval_shape(
        network.init, jax.random.key(0), jnp.zeros(spectrum), jnp.zeros(1), known, jnp.zeros(1, int)
    )
    return init["params"]


def universr(case: Case) -> Values:
    network = build(case.small)
    weights = dict(case.weights)
    code = frequency_code(network.bins, network.condition_size)
    # one float32 rounding of angles up to a bin's number
    np.testing.assert_allclose(code, weights.pop(CODE), atol=network.bins * 2.0**-23)
    params = load(network.torch_rules, weights, shapes(network))
    x, t = image(case.given("net/in_x")), case.given("net/in_t")[:, 0, 0, 0]
    results: Values = {}
    told: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in [k for k in case.io if re.fullmatch(r"net/sr\w_in_lr_spec", k)]:
        which = name.removesuffix("_in_lr_spec")
        rate, known = (
            1000 * case.small[f"{which.removeprefix('net/')}_khz"],
            image(case.given(name)),
        )
        table = known_bins(case.small)
        assert known.shape[2] == table[rate]
        told[which] = known, np.full(len(x), rate_index(rate, table))
        results |= inside(case, network, params, which, (x, t, *told[which]))
    results |= sampled(case, network, params, t, *told["net/srA"])
    return results | transformed(case) | distances(case)


def inside(
    case: Case, network: UniversrNetwork, params: Any, which: str, given: tuple[Any, ...]
) -> Values:
    """The field at a rate, and what it is made of."""
    out, inner = run(network, params, *given)
    ours = {
        "out": image(out),
        "time_sr_embedding": inner["time_embedder"] + inner["sr_projector"],
        "cond_sequence_padded": swap(inner["conditioning_encoder"]),
    }
    for name in [k for k in case.io if k.startswith(f"{which}_")]:
        for pattern, layer in INSIDE.items():
            if found := re.fullmatch(pattern, name.removeprefix(f"{which}_")):
                ours[found[0]] = image(inner[layer.format(*found.groups())])
    return {
        f"{which}_{name}": value for name, value in ours.items() if f"{which}_{name}" in case.io
    }


def sampled(
    case: Case,
    network: UniversrNetwork,
    params: Any,
    t: np.ndarray,
    known: np.ndarray,
    rate: np.ndarray,
) -> Values:
    """What learns and what samples, the condition being made once."""
    path = basic(case.small["sigma_min"])
    clean, noise = image(case.given("cfm/in_x1")), image(case.given("cfm/in_x0"))
    start, x = image(case.given("ode/in_noise")), image(case.io["net/in_x"])
    grids = {name: grid for name in case.io if (grid := grid_of(name))}

    @jax.jit
    def compute(params: Any) -> Values:
        bound = network.bind({"params": params})
        told, nothing = bound.encode(known, rate), bound.encode_nothing(rate)
        dropped = bound.encode(known, rate, np.ones(len(rate), bool))

        def field(condition: Any) -> Any:
            return lambda x, t: network.apply({"params": params}, x, t, condition, method="field")

        mixed, target = path.mix(clean, 0.0, noise, t), path.velocity(clean, 0.0, noise)
        found = {
            "net/srA_out_uncond": field(nothing)(x, t),
            "net/srA_out_uncond@dropped": field(dropped)(x, t),
            "cfm/xt": mixed,
            "cfm/target": target,
            "cfm/loss_srA": jnp.mean(jnp.square(field(told)(mixed, t) - target)),
        }
        for name, (method, steps, scale) in grids.items():
            asked = guided(field(told), field(nothing), scale)
            found[name] = solve(asked, start, jnp.linspace(0, 1, steps + 1), method)
        return found

    found = compute(params)
    return {name: value if value.ndim == 0 else image(value) for name, value in found.items()}


def grid_of(name: str) -> tuple[str, int, float] | None:
    """Method, steps and guidance that an "ode/..." name says."""
    found = re.fullmatch(r"ode/(euler|midpoint|rk4)(\d+)(?:_cfg([\d.]+))?", name)
    return (found[1], int(found[2]), float(found[3] or 1)) if found else None


def transformed(case: Case) -> Values:
    """The transform and the joining of spectra, which are of full size in every case."""
    full = case.config["full_config"]
    c, bins, generated = full["transform"], full["total_freq_bins"], full["hr_freq_bins"]
    transform = CompressedSpectrum(
        c["n_fft"], c["hop_length"], c["alpha"], c["beta"], c["comp_eps"]
    )
    wave, low = case.given("stft/in_wav"), case.given("assemble/in_lr_wav")
    made, table = image(case.given("assemble/in_generated")), known_bins(full)
    rates = {
        name: int(f[1])
        for name in case.io
        if (f := re.fullmatch(r"assemble/out_wav_sr(\d+)", name))
    }

    @jax.jit
    def compute(wave: jax.Array, low: jax.Array, made: jax.Array) -> Values:
        z, samples = transform.analyse(wave), wave.shape[1]
        found = {"stft/out_spec": z, "stft/inverse_wav": transform.synthesise(z, samples)}
        found["short"] = transform.synthesise(z)
        for name, khz in rates.items():
            known, _ = split(transform.analyse(low), table[1000 * khz], generated)
            found[name] = transform.synthesise(join(known, made, bins), samples)
        return found

    found = compute(wave, low, made)
    short = np.asarray(found.pop("short"))
    np.testing.assert_array_equal(short, found["stft/inverse_wav"][:, : short.shape[1]])
    golden, ours = case.io["stft/out_spec"], image(found["stft/out_spec"])
    return found | {
        "stft/inverse_wav_nolength_len": np.int32([short.shape[1]]),
        "stft/out_spec": Check(
            ours,
            where=magnitude(golden) > FULL,
            reason="full bins: the slope of |X|^0.2 enlarges the rounding of empty ones",
        ),
        "stft/out_spec@of_all_bins": Check(
            ours * magnitude(ours) ** (1 / transform.exponent - 1),
            against=golden * magnitude(golden) ** (1 / transform.exponent - 1),
        ),
    }


def magnitude(spectrum: np.ndarray) -> np.ndarray:
    """`[B, 2, F, T]` -> `[B, 1, F, T]`."""
    return np.sqrt(np.sum(np.square(spectrum), axis=1, keepdims=True))


def distances(case: Case) -> Values:
    """Log-spectral distances of its validation, STFT 1024/256, powers clamped at 1e-6."""

    def log_power(name: str) -> np.ndarray:
        waves = case.given(name).astype(np.float64)
        powers = [np.abs(spectrum(wave, 1024, 256)) ** 2 for wave in waves]
        return np.log10(np.maximum(powers, 1e-6))

    apart = np.square(log_power("stft/in_wav") - log_power("assemble/in_lr_wav"))
    bins = {"lsd/total": slice(None)}
    for name in case.io:
        if found := re.fullmatch(r"lsd/(low|high)_bins_(below|from)_(\d+)", name):
            cut = int(found[3])
            bins[name] = slice(0, cut) if found[1] == "low" else slice(cut, None)
    return {
        name: np.mean(np.sqrt(np.mean(apart[:, :, where], axis=-1))).astype(np.float32)
        for name, where in bins.items()
    }


def full_network(c: Mapping[str, Any]) -> Names:
    network = build(c)
    ours = names(network.torch_rules, shapes(network))
    return ours | {CODE: [network.bins, network.condition_size]}


ADAPTERS = {"universr": universr}
FULL_NETWORKS = {"universr": full_network}
