"""First values of a head at another rate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.audio.stft import istft
from codecbwe_jax.decoders.head_init import rescaled_head
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.decoders.multiband_init import analysis_response
from codecbwe_jax.weights.rules import Rule
from tests.golden.case import Case, Check
from tests.golden.networks import Names, Values, names, run, shapes
from tests.golden.settings import Settings

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
    c.follows("dim", hidden.shape[2])
    c.follows("n_fft", len(old["bias"]) - 2)
    old_audio, linear = sounded(old, hidden, c["hop"], 1.0)
    results: Values = {"old_head_out": linear, "old_audio": old_audio}
    for n_fft in c["targets"]:
        ratio = n_fft / c["n_fft"]  # bins stay where they are in Hz
        hop = round(ratio * c["hop"])
        for name, recipe in RECIPES.items():
            prefix = f"n_fft{n_fft}/{name}"
            new = rescaled_head(old, ratio, n_fft, recipe)
            results |= rows(prefix, new, prefix)
            if recipe == "equal_hz":
                low = muted(new, c["n_fft"] // 2 + 1)
                results[f"{prefix}/audio"] = sounded(new, hidden, hop, ratio)[0]
                results[f"{prefix}_lowband_only/audio"] = sounded(low, hidden, hop, ratio)[0]
    for name in [n for n in case.io if re.fullmatch(r"real\d+/weight", n)]:
        results |= of_real_head(case, name.removesuffix("/weight"))
    return results


def of_real_head(case: Case, name: str) -> Values:
    """A published head at other sizes."""
    real = {"kernel": case.given(f"{name}/weight").T, "bias": case.given(f"{name}/bias")}
    results: Values = {}
    for tensor in case.io:
        if found := re.fullmatch(rf"({name}/paper_joint_(\d+))/weight", tensor):
            size = int(found[2])
            new = rescaled_head(real, size / len(real["bias"]), size - 2, "interpolate")
            results |= rows(found[1], new, f"{name}_to_{size}_vs_float64_formula")
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


def sounded(
    head: Mapping[str, Any], hidden: np.ndarray, hop: int, ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Waveform of the first item, and its layer's outputs."""
    network = IstftHead(hop, 100.0 * ratio, len(head["bias"]) - 2)
    waveform, inner = run(network, {"linear": dict(head)}, hidden)
    return np.asarray(waveform)[0], np.asarray(inner["linear"])[0]


def multiband_istft_pqmf(case: Case) -> Values:
    results: Values = {}
    for c in case.small["geometries"]:
        c.changes_nothing("rate")
        given = case.given(f"in.{c['name']}.spec")  # [B, bands, bins, frames, 2]
        spectra = (given[..., 0] + 1j * given[..., 1]).swapaxes(2, 3)
        c.follows("frames", spectra.shape[2])
        results |= {f"{c['name']}.{k}": v for k, v in in_bands(c, spectra).items()}
    return results


def in_bands(c: Settings, spectra: np.ndarray) -> Values:
    """Band spectra `[B, bands, frames, bins]` to a waveform, and the bank's responses."""
    bands, bins = c["subbands"], spectra.shape[3]
    bank = Pqmf(bands, c["taps"], c["cutoff_ratio"], c["beta"])
    n_fft, hop_length = c["n_fft"], c["hop_length"]

    @jax.jit
    def joined(spectra: jax.Array) -> list[jax.Array]:
        flat = spectra.reshape(-1, *spectra.shape[2:])
        waves = istft(flat, n_fft, hop_length, padding="same")
        waves = waves.reshape(spectra.shape[0], bands, -1)
        return [waves, bank.synthesis(waves.swapaxes(1, 2))[:, None]]

    waves, audio = joined(spectra)
    in_old_band = np.arange(bins) / ((bins - 1) * bands)
    return {
        "bands": waves,
        "audio": audio,
        "band0_response": parts(analysis_response(bank, 0, in_old_band)),
        "band1_leak_response": parts(analysis_response(bank, 1, in_old_band)),
    }


def parts(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1)


def full_head(c: Settings) -> Names:
    """Of the codec at 16 kHz."""
    head = IstftHead(c["16k"]["hop"], n_fft=c["16k"]["n_fft"])
    return names((Rule("linear", "out", "dense"),), shapes(head, (1, 4, c["dim"])))


ADAPTERS = {
    "head_interpolation": head_interpolation,
    "multiband_istft_pqmf": multiband_istft_pqmf,
}
FULL_NETWORKS = {"head_interpolation": full_head}
