"""First values of a head at another rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.audio.stft import istft
from codecbwe_jax.decoders.head_init import rescaled_head
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.decoders.multiband_init import analysis_response
from tests.golden.case import Case, Check
from tests.golden.networks import Values

# our names of the recipes
RECIPES = {
    "paper_joint": "interpolate",
    "per_half": "interpolate_halves",
    "equal_hz": "equal_hz",
}


def head_interpolation(case: Case) -> Values:
    c = case.small
    old = {"kernel": case.weights["out.weight"].T, "bias": case.weights["out.bias"]}
    hidden = case.given("hidden")[None]
    results: Values = {
        "old_head_out": hidden[0] @ old["kernel"] + old["bias"],
        "old_audio": audio(old, hidden, c["hop"], 1.0),
    }
    for n_fft in c["targets"]:
        ratio = n_fft / c["n_fft"]  # bins stay where they are in Hz
        for name, recipe in RECIPES.items():
            prefix = f"n_fft{n_fft}/{name}"
            new = rescaled_head(old, ratio, n_fft, recipe)
            results |= rows(prefix, new, prefix)
            if recipe == "equal_hz":
                results[f"{prefix}/audio"] = audio(new, hidden, n_fft // 4, ratio)
                results[f"{prefix}_lowband_only/audio"] = audio(
                    muted(new, c["n_fft"] // 2 + 1), hidden, n_fft // 4, ratio
                )
    real = {"kernel": case.given("real1282/weight").T, "bias": case.given("real1282/bias")}
    for size in (1922, 2562, 3842):
        new = rescaled_head(real, size / 1282, size - 2, "interpolate")
        results |= rows(
            f"real1282/paper_joint_{size}", new, f"real1282_to_{size}_vs_float64_formula"
        )
    return results


def rows(prefix: str, head: Mapping[str, np.ndarray], figure: str) -> Values:
    return {
        f"{prefix}/weight": Check(head["kernel"].T, figure=figure),
        f"{prefix}/bias": Check(head["bias"], figure=figure),
    }


def muted(head: Mapping[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
    """Magnitudes of bins from `first` on at nothing."""
    kernel, bias = head["kernel"].copy(), head["bias"].copy()
    bins = slice(first, len(bias) // 2)
    kernel[:, bins], bias[bins] = 0.0, -np.inf
    return {"kernel": kernel, "bias": bias}


def audio(head: Mapping[str, Any], hidden: np.ndarray, hop: int, ratio: float) -> np.ndarray:
    network = IstftHead(hop, clip=100.0 * ratio)
    return np.asarray(network.apply({"params": {"linear": head}}, jnp.asarray(hidden)))[0]


def multiband_istft_pqmf(case: Case) -> Values:
    results: Values = {}
    for c in case.small["geometries"]:
        name, k = c["name"], c["subbands"]
        bank = Pqmf(k, c["taps"], c["cutoff_ratio"], c["beta"])
        given = case.given(f"in.{name}.spec")  # [B, bands, bins, frames, 2]
        spectra = (given[..., 0] + 1j * given[..., 1]).swapaxes(2, 3)
        batch, _, frames, bins = spectra.shape
        waves = istft(
            jnp.asarray(spectra.reshape(-1, frames, bins)),
            c["n_fft"],
            c["hop_length"],
            padding="same",
        )
        bands = waves.reshape(batch, k, -1)
        in_old_band = np.arange(bins) / ((bins - 1) * k)
        results |= {
            f"{name}.bands": bands,
            f"{name}.audio": bank.synthesis(bands.swapaxes(1, 2))[:, None],
            f"{name}.band0_response": parts(analysis_response(bank, 0, in_old_band)),
            f"{name}.band1_leak_response": parts(analysis_response(bank, 1, in_old_band)),
        }
    return results


def parts(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1)


ADAPTERS = {
    "head_interpolation": head_interpolation,
    "multiband_istft_pqmf": multiband_istft_pqmf,
}
