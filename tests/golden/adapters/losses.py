"""Losses, with their gradients."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.mel import MelSettings, log_mel, mel, mel_filterbank
from codecbwe_jax.losses.adversarial import feature_matching, hinge_discriminator, hinge_generator
from codecbwe_jax.losses.balancer import balance, initial_state
from codecbwe_jax.losses.mel import log_mel_l1, multi_scale_mel
from codecbwe_jax.losses.spectral import amplitude_mse, anti_wrap, complex_mse, phase_losses
from codecbwe_jax.losses.stft import log_magnitude_distance, multi_resolution_stft
from codecbwe_jax.losses.waveform import si_sdr, waveform_l1
from tests.golden.case import Case, Check
from tests.golden.settings import plain


def ap_bwe_losses(case: Case) -> dict[str, Any]:
    def swapped(name: str) -> np.ndarray:
        return case.given(name).swapaxes(1, 2)

    def as_complex(name: str) -> jax.Array:
        x = swapped(name)
        return jax.lax.complex(x[..., 0], x[..., 1])

    mag, pha = swapped("mag_target"), swapped("pha_target")
    target, again = as_complex("com_target"), as_complex("com_gen_hat")

    def terms(mag_gen: jax.Array, pha_gen: jax.Array) -> dict[str, jax.Array]:
        magnitude = jnp.exp(mag_gen)
        z = jax.lax.complex(magnitude * jnp.cos(pha_gen), magnitude * jnp.sin(pha_gen))
        phases = phase_losses(pha, pha_gen)
        return {
            "com_gen": z,
            "mag_mse": amplitude_mse(mag, mag_gen),
            "phase_ip": phases["instantaneous_phase"],
            "phase_gd": phases["group_delay"],
            "phase_iaf": phases["angular_frequency"],
            "complex_mse": complex_mse(target, z),
            "consistency_mse": complex_mse(z, again),
        }

    weights = {"mag_mse": 45, "phase_ip": 100, "phase_gd": 100, "phase_iaf": 100}
    weights |= {"complex_mse": 90, "consistency_mse": 90}

    def total(mag_gen: jax.Array, pha_gen: jax.Array) -> jax.Array:
        values = terms(mag_gen, pha_gen)
        return sum(w * values[name] for name, w in weights.items())

    inputs = swapped("mag_gen"), swapped("pha_gen")
    for size, key in zip(mag.shape, "BTF", strict=True):
        case.small.follows(key, size)
    values, whole, gradients = jax.jit(
        lambda *x: (terms(*x), total(*x), jax.grad(total, (0, 1))(*x))
    )(*inputs)
    z = np.asarray(values.pop("com_gen")).swapaxes(1, 2)
    maps: dict[str, list[list]] = {"real": [], "gen": []}
    logits: dict[str, list] = {"real": [], "gen": []}
    for side in ("real", "gen"):
        while f"logit_{side}_{len(logits[side])}" in case.io:
            i = len(logits[side])
            logits[side].append(case.given(f"logit_{side}_{i}"))
            maps[side].append([])
            while f"fmap_{side}_{i}_{len(maps[side][i])}" in case.io:
                maps[side][i].append(case.given(f"fmap_{side}_{i}_{len(maps[side][i])}"))

    @jax.jit
    def of_critics(maps: Any, logits: Any) -> dict[str, jax.Array]:
        return {
            "out_feature": feature_matching(maps["real"], maps["gen"]),
            "out_disc_hinge": hinge_discriminator(logits["real"], logits["gen"]),
            "out_gen_hinge": hinge_generator(logits["gen"]),
        }

    return {f"out_{name}": value for name, value in values.items()} | {
        "com_gen": np.stack([z.real, z.imag], -1),
        "out_spectral_total": whole,
        "grad_mag_gen": np.asarray(gradients[0]).swapaxes(1, 2),
        "grad_pha_gen": np.asarray(gradients[1]).swapaxes(1, 2),
        "antiwrap_y": anti_wrap(case.given("antiwrap_x")),
        **of_critics(maps, logits),
    }


def hifigan_mel(case: Case) -> dict[str, Any]:
    c = case.small
    settings = MelSettings(
        c["sampling_rate"],
        c["n_fft"],
        c["hop_size"],
        c["num_mels"],
        c["win_size"],
        c["fmin"],
        c["fmax"],
        padding="same",
        floor=1e-5,
        power_floor=1e-9,
    )

    @jax.jit
    def compute(y: jax.Array, y_hat: jax.Array) -> dict[str, jax.Array]:
        loss, gradient = jax.value_and_grad(lambda w: log_mel_l1(y, w, settings))(y_hat)
        return {
            "mel_y": log_mel(y, settings).swapaxes(1, 2),
            "mel_y_hat": log_mel(y_hat, settings).swapaxes(1, 2),
            "loss.l1": loss,
            "grad": gradient,
        }

    return compute(case.given("in.y"), case.given("in.y_hat"))


def vocos_mel_loss(case: Case) -> dict[str, Any]:
    c = case.small
    settings = MelSettings(
        c["sample_rate"], c["n_fft"], c["hop_length"], c["n_mels"], scale="htk", floor=1e-7
    )
    stored = case.weights["loss.mel_spec.mel_scale.fb"]
    # torchaudio designs its filters in float32
    np.testing.assert_allclose(settings.filterbank(), stored, atol=2e-5)

    @jax.jit
    def compute(y: jax.Array, y_hat: jax.Array) -> dict[str, jax.Array]:
        loss, gradient = jax.value_and_grad(lambda w: log_mel_l1(y, w, settings))(y_hat)
        return {
            "mel": mel(y, settings).swapaxes(1, 2),
            "mel_hat": mel(y_hat, settings).swapaxes(1, 2),
            "loss": loss,
            "grad_y_hat": gradient,
        }

    return compute(case.given("in.y"), case.given("in.y_hat"))


def dac_losses(case: Case) -> dict[str, Any]:
    rate, c, s = case.small["sample_rate"], case.small["mel"], case.small["stft"]
    for entries, key, weight in ((c, "mag_weight", 0.0), (c, "log_weight", 1.0), (c, "pow", 1.0)):
        entries.only(key, weight)
    s.only("mag_weight", 1.0)
    s.only("log_weight", 1.0)
    scales = {
        "n_mels": c["n_mels"],
        "windows": c["window_lengths"],
        "f_min": c["mel_fmin"],
        "f_max": c["mel_fmax"],
        "floor": c["clamp_eps"],
    }
    columns = zip(*(scales[k] for k in ("n_mels", "windows", "f_min", "f_max")), strict=True)
    mels = [MelSettings(rate, w, w // 4, n, f_min=a, f_max=b) for n, w, a, b in columns]
    y, y_hat = case.given("in.y")[:, 0], case.given("in.y_hat")[:, 0]

    @jax.jit
    def mel_loss(y: jax.Array, prediction: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda x: multi_scale_mel(y, x, rate, **scales))(prediction)

    def stft_loss(prediction: jax.Array, y: jax.Array) -> jax.Array:
        return log_magnitude_distance(y, prediction, s["window_lengths"], s["clamp_eps"], s["pow"])

    @jax.jit
    def others(y: jax.Array, y_hat: jax.Array) -> dict[str, jax.Array]:
        value, gradient = jax.value_and_grad(stft_loss)(y_hat, y)
        return {
            "loss.stft": value,
            "grad.stft": gradient[:, None],
            "loss.waveform_l1": waveform_l1(y, y_hat),
            # the original calls its estimate the reference
            "loss.sisdr": -jnp.mean(si_sdr(y_hat, y, zero_mean=True)),
            **{f"mel_y.{i}": mel(y, m).swapaxes(1, 2)[:, None] for i, m in enumerate(mels)},
        }

    silence = np.zeros_like(y)
    value, gradient = mel_loss(y, y_hat)
    silent, silent_gradient = mel_loss(y, silence)
    return others(y, y_hat) | {
        "loss.mel": value,
        "grad.mel": gradient[:, None],
        "silent_prediction.loss.mel": silent,
        "silent_prediction.grad.mel": silent_gradient[:, None],
        "silent_both.loss.mel": mel_loss(silence, silence)[0],
    }


def auraloss_mrstft(case: Case) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for settings in case.small["losses"]:
        name = settings["name"]
        settings.only("scale", None, "mel")
        banks = fir = None
        if settings.get("scale") == "mel":
            banks = [
                mel_filterbank(settings["sample_rate"], n, settings["n_bins"])
                for n in settings["fft_sizes"]
            ]
        if settings.get("perceptual_weighting"):
            settings.changes_nothing("sample_rate")  # the filter made for it is stored
            fir = case.weights[f"{name}.stft_losses.0.prefilter.fir.weight"].reshape(-1)

        def loss(x: jax.Array, y: jax.Array, s: Any = settings, banks=banks, fir=fir) -> Any:
            x, y = (w.reshape(-1, w.shape[-1]) for w in (x, y))
            if fir is not None:
                x, y = (jax.vmap(lambda w: jnp.convolve(w, fir, mode="same"))(v) for v in (x, y))
            return multi_resolution_stft(
                y,
                x,
                s["fft_sizes"],
                s["hop_sizes"],
                s["win_lengths"],
                s.get("w_sc", 1.0),
                s.get("w_log_mag", 1.0),
                s.get("w_lin_mag", 0.0),
                norm_over="batch",
                filterbanks=banks,
            )

        value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
        for pair in case.small["pairs"]:
            x, y = case.given(f"in.{pair}.x"), case.given(f"in.{pair}.y")
            (value, terms), grad = value_and_grad(x, y)
            prefix = f"{name}.{pair}"
            results[f"{prefix}.loss"] = value
            results |= {f"{prefix}.{term}": v for term, v in terms.items()}
            if f"{prefix}.grad" in case.io:
                results[f"{prefix}.grad"] = grad
            norm = jnp.sqrt(jnp.sum(grad**2))
            results[f"{prefix}.grad_norm"] = Check(
                norm, relative=1e-4, reason="a root over thousands of squared float32 gradients"
            )
    return results


def subband_stft_loss(case: Case) -> dict[str, Any]:
    s = case.small
    target, predicted = case.given("in.y"), case.given("in.y_hat")

    def loss(y_hat: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        folded = (w.reshape(-1, w.shape[-1]) for w in (target, y_hat))
        sizes = s["fft_sizes"], s["hop_sizes"], s["win_lengths"]
        return multi_resolution_stft(*folded, *sizes, norm_over="batch", power_floor=1e-7)

    (_, terms), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(predicted)
    results: dict[str, Any] = {"grad": gradient}
    for name in ("spectral_convergence", "log_magnitude"):
        results[f"loss.{name}"] = jnp.mean(terms[name])
        results |= {f"res{i}.{name}": value for i, value in enumerate(terms[name])}
    return results


def encodec_balancer(case: Case) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for c in case.small["runs"]:
        name, weights = c["name"], plain(c["weights"])
        settings = {
            "total_norm": c.get("total_norm", 1.0),
            "ema_decay": c.get("ema_decay", 0.999),
            "per_item": c.get("per_batch_item", True),
            "rescale": c.get("rescale_grads", True),
            "epsilon": c.get("epsilon", 1e-12),
        }
        step_by = jax.jit(lambda g, s, w=weights, k=settings: balance(g, w, s, **k))
        for tensor in case.io:  # what the losses and their gradients were made of
            if tensor.startswith((f"{name}.in.", f"{name}.step")) and re.search(
                r"\.in\.|\.(loss|grad)\.", tensor
            ):
                case.given(tensor)
        state = initial_state(weights)
        for step in range(c["steps"]):
            prefix = f"{name}.step{step}"
            gradients = {n: case.given(f"{prefix}.grad.{n}") for n in weights}
            shape = next(iter(gradients.values())).shape
            c.follows("batch", shape[0])
            c.follows("samples", shape[-1])
            before = state
            mixed, state, figures = step_by(gradients, state)
            results[f"{prefix}.out_grad"] = mixed
            total = sum(f.norm for f in figures.values())
            for n, found in figures.items():
                # what a step adds to its running sum
                norm = state[n]["total"] - settings["ema_decay"] * before[n]["total"]
                monitored = {
                    "norm": norm,
                    "avg_norm": found.norm,
                    "scale": found.scale,
                    "ratio": found.norm / total,
                }
                results |= {f"{prefix}.{key}.{n}": value for key, value in monitored.items()}
    return {name: value for name, value in results.items() if name in case.io}


ADAPTERS = {
    "ap_bwe_losses": ap_bwe_losses,
    "hifigan_mel": hifigan_mel,
    "vocos_mel_loss": vocos_mel_loss,
    "dac_losses": dac_losses,
    "auraloss_mrstft": auraloss_mrstft,
    "encodec_balancer": encodec_balancer,
    "subband_stft_loss": subband_stft_loss,
}
