"""The AP-BWE generator and its waveform paths."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.stft import phase, stft
from codecbwe_jax.interop.weights import from_torch, to_torch
from codecbwe_jax.systems.ap_bwe import AMPLITUDE_FLOOR, ApBwe, polar
from tests.golden.case import Case, Check
from tests.golden.networks import swap


def build(config: dict[str, Any]) -> ApBwe:
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


def ap_bwe(case: Case) -> dict[str, Any]:
    system = build(case.small)
    params = from_torch(system.torch_rules, case.weights, shapes(system))
    again = to_torch(system.torch_rules, params)
    assert all(np.array_equal(case.weights[k], v) for k, v in again.items())

    def network(mag: np.ndarray, pha: np.ndarray) -> tuple[dict, dict]:
        out, state = system.network.apply(
            {"params": params},
            swap(mag),
            swap(pha),
            capture_intermediates=True,
            mutable="intermediates",
        )
        return out, {
            k: v["__call__"][0] for k, v in state["intermediates"].items() if k != "__call__"
        }

    def spectrum(out: dict) -> jax.Array:
        return polar(out["log_amplitude"], out["real"], out["imag"])

    def outputs(prefix: str) -> dict[str, Any]:
        out, _ = network(case.io[f"{prefix}mag_nb"], case.io[f"{prefix}pha_nb"])
        angle = phase(jax.lax.complex(out["real"], out["imag"]))
        return {
            f"{prefix}mag_wb": swap(out["log_amplitude"]),
            f"{prefix}pha_wb": Check(swap(angle), wrapped=True),
        }

    def synthesis(mag: np.ndarray, pha: np.ndarray) -> jax.Array:
        mag, pha = swap(mag), swap(pha)
        return system.synthesise(polar(mag, jnp.cos(pha), jnp.sin(pha)))

    def analysis(wave: np.ndarray, real: str, imag: str, prefix: str) -> dict[str, Any]:
        z = stft(wave, system.n_fft, system.hop_length, system.win_length)
        stored = jax.lax.complex(swap(case.io[real]), swap(case.io[imag]))
        return {
            real: swap(z.real),
            imag: swap(z.imag),
            f"{prefix}mag_nb": swap(jnp.log(jnp.abs(stored) + AMPLITUDE_FLOOR)),
            f"{prefix}pha_nb": Check(swap(phase(stored)), wrapped=True),
        }

    out, inner = network(case.given("mag_nb"), case.given("pha_nb"))
    z = spectrum(out)
    angle = phase(jax.lax.complex(out["real"], out["imag"]))
    results: dict[str, Any] = {
        "net_mag_residual": swap(inner["linear_post_mag"]),
        "net_pha_r": swap(inner["linear_post_pha_r"]),
        "net_pha_i": swap(inner["linear_post_pha_i"]),
        "net_mag_wb": swap(out["log_amplitude"]),
        "net_pha_wb": Check(swap(angle), wrapped=True),
        "net_com_wb": np.stack([swap(z.real), swap(z.imag)], axis=-1),
        "istft_of_net_outputs": synthesis(case.io["net_mag_wb"], case.io["net_pha_wb"]),
    }
    for stream in ("mag", "pha"):
        for place in ("pre", "post"):
            results[f"net_norm_{place}_{stream}"] = swap(inner[f"norm_{place}_{stream}"])
        for i in range(system.layers):
            results[f"net_block{i}_{stream}"] = swap(inner[f"convnext_{stream}_{i}"])

    # The path from a low-rate waveform, stage by stage from the stored tensors: the phase of
    # empty bins and of the symmetric first frame is rounding noise in any implementation.
    low = case.given("wav_in")
    results["wav_up"] = system.upsample(low)
    results |= analysis(case.io["wav_up"], "stft_real", "stft_imag", "wavepath_")
    results |= outputs("wavepath_")
    results["wav_out"] = synthesis(case.io["wavepath_mag_wb"], case.io["wavepath_pha_wb"])
    results["wav_out@end_to_end"] = Check(
        system.extend(params, low, jax.random.key(0)),
        samples=case.sample_range("narrow path wav"),
        figure="narrow path wav",
    )

    wide = case.given("wide_in")
    results |= analysis(wide, "wide_stft_real", "wide_stft_imag", "wide_")
    results |= outputs("wide_")
    results["wide_wav_out"] = synthesis(case.io["wide_mag_wb"], case.io["wide_pha_wb"])
    features = system.analyse(wide)
    out = system.network.apply({"params": params}, features["log_amplitude"], features["phase"])
    results["wide_wav_out@end_to_end"] = Check(
        system.synthesise(spectrum(out)),
        samples=case.sample_range("wide path wav"),
        figure="wide path wav",
    )
    return results


def full_network(config: dict[str, Any]) -> tuple[Any, Any]:
    system = build(config)
    return system.torch_rules, shapes(system)


ADAPTERS = {"ap_bwe": ap_bwe}
FULL_NETWORKS = {"ap_bwe": full_network}
