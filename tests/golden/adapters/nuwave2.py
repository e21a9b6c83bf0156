"""NU-Wave 2: the network, its noise levels, both samplers."""

from __future__ import annotations

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.stft import stft
from codecbwe_jax.estimators.nuwave2 import LOG_SNRS, NuWave2Network, level_of
from codecbwe_jax.losses.waveform import waveform_l1
from codecbwe_jax.solvers.ddim import ddim
from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.solvers.ode import solve
from codecbwe_jax.solvers.probability_flow import probability_flow
from codecbwe_jax.solvers.schedules import cosine_log_snr, middles
from tests.golden.case import Case, Check
from tests.golden.networks import Names, Values, load, names, part, run, swap
from tests.golden.settings import Settings

PREFIX = "model.model."  # of Lightning's module, and of the diffusion in it
NUMBER = r"(-?[\d.]+)"


def build(c: Settings) -> NuWave2Network:
    return NuWave2Network(
        c["n_fft"], c["hop"], c["layers"], c["ch"], c["emb"], c["bsft"], c["pos_ch"]
    )


def shapes(network: NuWave2Network) -> Any:
    samples = math.lcm(network.n_fft, network.hop_length)
    wave = jax.ShapeDtypeStruct((1, samples), jnp.float32)
    level = jax.ShapeDtypeStruct((1,), jnp.float32)
    band = jax.ShapeDtypeStruct((1, network.n_fft // 2 + 1), jnp.int32)
    init = jax.eval_shape(network.init, jax.random.key(0), wave, wave, level, band)
    return init["params"]


def parameters(case: Case, network: NuWave2Network) -> Any:
    weights = part(case.weights, PREFIX)
    for name, window in network.torch_constants.items():
        # torch makes it in float32: a rounding or two of its largest values
        np.testing.assert_allclose(weights.pop(name), window, atol=2e-7)
    return load(network.torch_rules, weights, shapes(network))


def nuwave2(case: Case) -> Values:
    network = build(case.small)
    params = parameters(case, network)
    low, band = case.given("in_wav_l"), case.given("in_band")
    shares = case.small["band_edges_fraction"]
    assert band.sum(1).tolist() == [int(share * band.shape[1]) for share in shares]
    schedule = [*case.config["full_config"]["infer_schedule"], LOG_SNRS[-1]]
    assert tuple(schedule) == LOG_SNRS

    def denoise(x: jax.Array, level: Level) -> jax.Array:
        noise = network.apply({"params": params}, x, low, level.time, band)
        return level.clean_of_noise(x, noise)

    return levels(case) | inside(case, network, params) | sampled(case, denoise)


def levels(case: Case) -> Values:
    """The schedule, what is noisy by it, the transform."""
    t, grid = case.given("in_t"), case.given("sched/t_grid")
    clean, noise = case.given("in_wav"), case.given("in_noise")
    c, frames = case.small, case.io["stft/normalized_real"].shape[2]
    log_snr = np.asarray(cosine_log_snr(t))

    @jax.jit
    def compute(t: jax.Array, grid: jax.Array, clean: jax.Array) -> Values:
        level = level_of(log_snr)
        z = stft(clean[:1], c["n_fft"], c["hop"])[:, :frames].swapaxes(1, 2)
        z = z / np.sqrt(c["n_fft"])
        return {
            "sched/logsnr": cosine_log_snr(t),
            "sched/logsnr_grid": cosine_log_snr(grid),
            "sched/norm_nlogsnr": level.time,
            "sched/alpha_sq": jnp.square(level.alpha),
            "sched/sigma_sq": jnp.square(level.sigma),
            "train/x_t": level.mix(clean, noise),
            "stft/normalized_real": z.real,
            "stft/normalized_imag": z.imag,
        }

    return compute(t, grid, clean)


def inside(case: Case, network: NuWave2Network, params: Any) -> Values:
    """The network on the stored noisy waveform and level: it hears a level's last digit. (Of two
    results of a module `run` gives the first.)"""
    given = (case.io[n] for n in ("train/x_t", "in_wav_l", "sched/norm_nlogsnr", "in_band"))
    out, inner = run(network, params, *given)
    results = {
        "train/noise_estimate": out,
        "train/loss_l1": waveform_l1(case.given("in_noise"), out),
        "net/input_projection_before_silu": swap(inner["input_projection"]),
        "net/diffusion_embedding": inner["diffusion_embedding"],
    }
    for i in range(network.layers):
        layer = {
            name.removeprefix(f"residual_layers_{i}/"): np.asarray(value)
            for name, value in inner.items()
            if name.startswith(f"residual_layers_{i}/")
        }
        found = {
            "bsft_before_relu": interleaved(layer["ffc1/convg2g/fu/bsft"]),
            "fourier_unit": swap(layer["ffc1/convg2g/fu"]),
            "stfc_local": swap(layer["ffc1"]),
            "stfc_global": swap(layer["ffc1/convl2g"] + layer["ffc1/convg2g"]),
            "out": swap(inner[f"residual_layers_{i}"]),
            "skip": swap(np.split(layer["output_projection"], 2, axis=2)[1]),
        }
        for name, value in found.items():
            golden = case.io.get(f"net/layer{i}_{name}")
            if golden is not None:  # of a spectrum the first frames alone
                results[f"net/layer{i}_{name}"] = value[..., : golden.shape[-1]]
    return results


def interleaved(parts: np.ndarray) -> np.ndarray:
    """Parts `[B, 2, C, frames, bins]` -> `[B, 2 * C, bins, frames]`, each channel's together."""
    batch, _, channels, frames, bins = parts.shape
    return parts.transpose(0, 2, 1, 4, 3).reshape(batch, 2 * channels, bins, frames)


def sampled(case: Case, denoise: Any) -> Values:
    """Single steps from the stored noisy waveform, whole ways from noise."""
    path = level_of(np.asarray(LOG_SNRS, np.float32))
    flow = probability_flow(denoise, lambda t: level_of(cosine_log_snr(t)))

    @jax.jit
    def sample(x: jax.Array, noise: jax.Array) -> Values:
        results: Values = {}
        for name in case.io:
            if found := re.fullmatch(rf"ddim/step_{NUMBER}_to_{NUMBER}", name):
                step = level_of(np.array(found.groups(), np.float32))
                first = jax.tree.map(lambda values: jnp.full(len(x), values[0]), step)
                results[name] = ddim(denoise, x, step)
                results["ddim/step_pred_x0"] = denoise(x, first)
            elif found := re.fullmatch(rf"ode/step_t{NUMBER}_h{NUMBER}", name):
                begin, length = map(float, found.groups())
                results[name] = solve(flow, x, jnp.array([begin, begin - length]), "euler")
            elif found := re.fullmatch(r"ode/full_(\d+)_steps_raw", name):
                results[name] = solve(flow, noise, jnp.array(middles(int(found[1]))), "euler")
        return results | {"ddim/full_8_steps_raw": ddim(denoise, noise, path)}

    results = sample(case.io["train/x_t"], case.given("in_noise"))
    whole = results["ddim/full_8_steps_raw"]
    results["ddim/full_8_steps_clamped"] = np.clip(whole, -1, 1 - 2**-10)
    for name in results:
        if name.startswith("ode/full"):
            reason = (
                "each step hears the last digit of its level, and log-SNRs have it from a tangent"
            )
            results[name] = Check(results[name], relative=1e-4, reason=reason)
    return results


def full_network(c: Settings) -> Names:
    network = NuWave2Network(
        c["n_fft"],
        c["hop"],
        c["residual_layers"],
        c["residual_channels"],
        c["pos_emb_dim"],
        c["bsft_channels"],
        c["pos_emb_channels"],
    )
    constants = {f"{PREFIX}{k}": list(v.shape) for k, v in network.torch_constants.items()}
    return names(network.torch_rules, shapes(network), PREFIX) | constants


ADAPTERS = {"nuwave2": nuwave2}
FULL_NETWORKS = {"nuwave2": full_network}
