"""Signal processing: resampling, transforms, mel, filter banks."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.sinc import SINC_FILTERS, SincFilter, sinc_kernel
from codecbwe_jax.audio.stft import istft
from codecbwe_jax.audio.window import hann
from tests.golden.case import Case


def resample_sinc(case: Case) -> dict[str, Any]:
    default = SINC_FILTERS["torchaudio"]
    results: dict[str, Any] = {}
    for a, b in case.small["pairs"]:
        results[f"{a}_{b}_out"] = resample(case.given(f"{a}_{b}_in"), a, b, default)
        if f"{a}_{b}_kernel" in case.io:
            results[f"{a}_{b}_kernel"] = sinc_kernel(a, b, default)[0][:, None, :]
    special = {"kaiser": SINC_FILTERS["kaiser16"], "hann64": SincFilter(64, 0.9475937167399596)}
    for name, design in special.items():
        tensor = f"{name}_16000_48000_out"
        if tensor in case.io:
            results[tensor] = resample(case.io["16000_48000_in"], 16000, 48000, design)
    return results


def pqmf(case: Case) -> dict[str, Any]:
    lag = -0.5 if case.kind == "pqmf_mbistft" else 0.0
    results: dict[str, Any] = {}
    for settings in case.small["banks"]:
        name, taps = settings["name"], settings["taps"]
        bank = Pqmf(settings["subbands"], taps, settings["cutoff_ratio"], settings["beta"], lag)
        for ours, stored in zip(bank.filters(), ("analysis", "synthesis"), strict=True):
            golden = case.weights[f"{name}.{stored}_filter"].reshape(ours.shape)
            np.testing.assert_allclose(ours, golden, atol=1e-7)  # one float32 rounding of 1
        x = case.given(f"in.{name}.x")[:, 0]
        bands = bank.analysis(x)
        trip = bank.synthesis(bands)
        middle = slice(2 * taps, trip.shape[1] - 2 * taps)
        error = np.asarray(trip, np.float64)[:, middle] - x[:, middle]
        snr = 10 * np.log10((x[:, middle].astype(np.float64) ** 2).sum(1) / (error**2).sum(1))
        given = case.given(f"in.{name}.bands_in").swapaxes(1, 2)
        results |= {
            f"{name}.analysis": bands.swapaxes(1, 2),
            f"{name}.roundtrip": trip[:, None],
            f"{name}.roundtrip_snr_db": snr,
            f"{name}.synthesis": bank.synthesis(given)[:, None],
        }
    return results


def vocos_istft(case: Case) -> dict[str, Any]:
    results = {}
    for g in case.small["geometries"]:
        spec = case.given(f"in.{g['name']}.spec")
        z = jax.lax.complex(spec[..., 0], spec[..., 1]).swapaxes(1, 2)
        results[f"{g['name']}.audio"] = istft(
            z, g["n_fft"], g["hop_length"], g["win_length"], g["padding"]
        )
        window = case.weights[f"ops.{g['name']}.window"]
        np.testing.assert_allclose(hann(g["win_length"]), window, atol=2e-7)  # float32 cosines
    return results


ADAPTERS = {
    "resample_sinc": resample_sinc,
    "pqmf": pqmf,
    "pqmf_mbistft": pqmf,
    "vocos_istft": vocos_istft,
}
FULL_NETWORKS: dict[str, Any] = {}
