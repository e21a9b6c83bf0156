"""The AP-BWE generator and its waveform paths."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.stft import phase, stft
from codecbwe_jax.systems.ap_bwe import ApBwe, polar, seen
from tests.golden.case import Case, Check
from tests.golden.networks import Values, load, names, run, swap


def build(config: Mapping[str, Any]) -> ApBwe:
    return ApBwe(
        input_rate=config["lr_sampling_rate"],
        output_rate=config["hr_sampling_rate"],
        channels=config["ConvNeXt_channels"],
        layers=config["ConvNeXt_layers"],
        n_fft=config["n_fft"],
        hop_length=config["hop_size"],
        win_length=config["win_size"],
    )


def shapes(system: ApBwe) -> Any:
    return jax.eval_shape(system.init, jax.random.key(0))


def ap_bwe(case: Case) -> Values:
    system = build(case.small)
    params = load(system.torch_rules, case.weights, shapes(system))

    @jax.jit
    def network(log_amplitude: Any, angles: Any) -> dict[str, jax.Array]:
        out = system.network.apply({"params": params}, log_amplitude, angles)
        return out | {
            "phase": phase(jax.lax.complex(out["real"], out["imag"])),
            "spectrum": polar(out["log_amplitude"], out["real"], out["imag"]),
        }

    @jax.jit
    def analysis(wave: np.ndarray, real: np.ndarray, imag: np.ndarray) -> list[jax.Array]:
        z = stft(wave, system.n_fft, system.hop_length, system.win_length)
        stored = jax.lax.complex(real.swapaxes(1, 2), imag.swapaxes(1, 2))
        return [z.real, z.imag, phase(z), *seen(stored, system.phase_floor)]

    @jax.jit
    def synthesis(mag: np.ndarray, pha: np.ndarray) -> jax.Array:
        mag, pha = mag.swapaxes(1, 2), pha.swapaxes(1, 2)
        return system.synthesise(polar(mag, jnp.cos(pha), jnp.sin(pha)))

    def path(wave: np.ndarray, prefix: str, name: str, audio: str) -> Values:
        """A waveform's way, each stage from the stored tensors: the phase of empty bins and of the
        symmetric first frame is rounding noise in any implementation."""
        real, imag = case.io[f"{name}_real"], case.io[f"{name}_imag"]
        z_real, z_imag, turned, log_amplitude, angles = analysis(wave, real, imag)
        mag, pha = case.io[f"{prefix}_mag_nb"], case.io[f"{prefix}_pha_nb"]
        out = network(swap(mag), swap(pha))
        full = np.hypot(real, imag) > 1e-2 * np.hypot(real, imag).max()
        full[..., 0] = False
        return {
            f"{name}_real": swap(z_real),
            f"{name}_imag": swap(z_imag),
            f"{prefix}_mag_nb": swap(log_amplitude),
            f"{prefix}_pha_nb": Check(swap(angles), wrapped=True),
            f"{prefix}_pha_nb@of_waveform": Check(
                swap(turned), where=full, wrapped=True, reason="full bins after the first frame"
            ),
            f"{prefix}_mag_wb": swap(out["log_amplitude"]),
            f"{prefix}_pha_wb": Check(swap(out["phase"]), wrapped=True),
            audio: synthesis(case.io[f"{prefix}_mag_wb"], case.io[f"{prefix}_pha_wb"]),
        }

    low, wide = case.given("wav_in"), case.given("wide_in")
    results = inside(case, system, params, network) | {
        "istft_of_net_outputs": synthesis(case.io["net_mag_wb"], case.io["net_pha_wb"]),
        "wav_up": jax.jit(system.upsample)(low),
    }
    results |= path(case.io["wav_up"], "wavepath", "stft", "wav_out")
    results |= path(wide, "wide", "wide_stft", "wide_wav_out")
    return results | end_to_end(case, system, params, network)


def inside(case: Case, system: ApBwe, params: Any, network: Any) -> Values:
    """The network's inside."""
    given = swap(case.given("mag_nb")), swap(case.given("pha_nb"))
    _, inner = run(system.network, params, *given)
    out = network(*given)
    spectrum = np.asarray(out["spectrum"])
    results = {
        "net_mag_residual": swap(inner["linear_post_mag"]),
        "net_pha_r": swap(inner["linear_post_pha_r"]),
        "net_pha_i": swap(inner["linear_post_pha_i"]),
        "net_mag_wb": swap(out["log_amplitude"]),
        "net_pha_wb": Check(swap(out["phase"]), wrapped=True),
        "net_com_wb": np.stack([swap(spectrum.real), swap(spectrum.imag)], axis=-1),
    }
    for stream in ("mag", "pha"):
        for place in ("pre", "post"):
            results[f"net_norm_{place}_{stream}"] = swap(inner[f"norm_{place}_{stream}"])
        for i in range(system.layers):
            results[f"net_block{i}_{stream}"] = swap(inner[f"convnext_{stream}_{i}"])
    return results


def end_to_end(case: Case, system: ApBwe, params: Any, network: Any) -> Values:
    """`extend`: of the wide-band input, whose bins are all full, against the original's waveform;
    and at the case's rates of white noise, against its stages one by one."""
    case.leave_out("wav_out@extend", "made of empty bins' phases: see wav_out@of_noise")
    same = dataclasses.replace(system, input_rate=system.output_rate)
    low = np.random.default_rng(0).standard_normal(case.io["wav_in"].shape).astype(np.float32)
    key = jax.random.key(0)
    wide = jax.jit(system.upsample)(low)
    features = jax.jit(system.analyse)(wide)
    out = network(features["log_amplitude"], features["phase"])
    stages = jax.jit(system.synthesise)(out["spectrum"])
    narrow = "narrow path wav"
    return {
        "wide_wav_out@extend": Check(
            jax.jit(same.extend)(params, case.io["wide_in"], key),
            samples=case.sample_range("wide path wav"),
            figure="wide path wav",
        ),
        "wav_out@of_noise": Check(
            jax.jit(system.extend)(params, low, key),
            against=stages,
            samples=case.sample_range(narrow),
            figure=0.0,
        ),
    }


def full_network(config: Mapping[str, Any]) -> dict[str, list[int]]:
    system = build(config)
    return names(system.torch_rules, shapes(system))


ADAPTERS = {"ap_bwe": ap_bwe}
FULL_NETWORKS = {"ap_bwe": full_network}
