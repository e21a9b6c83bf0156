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
from tests.golden.networks import Values, swap

# other designs, by the words before the rates in a tensor's name
DESIGNS = {"kaiser": SINC_FILTERS["kaiser16"], "hann64": SincFilter(64, 0.9475937167399596)}


def resample_sinc(case: Case) -> Values:
    default = SINC_FILTERS["torchaudio"]
    results: Values = {}

    def resampled(name: str, a: int, b: int, design: SincFilter) -> Any:
        return jax.jit(lambda x: resample(x, a, b, design))(case.given(f"{name}_in"))

    for a, b in case.small["pairs"]:
        pair = f"{a}_{b}"
        results[f"{pair}_out"] = resampled(pair, a, b, default)
        if f"{pair}_kernel" in case.io:
            results[f"{pair}_kernel"] = sinc_kernel(a, b, default)[0][:, None, :]
        for name, design in DESIGNS.items():
            if f"{name}_{pair}_out" in case.io:
                results[f"{name}_{pair}_out"] = resampled(pair, a, b, design)
    return results


def pqmf(case: Case) -> Values:
    lag = -0.5 if case.kind == "pqmf_mbistft" else 0.0
    results: Values = {}
    for c in case.small["banks"]:
        bank = Pqmf(c["subbands"], c["taps"], c["cutoff_ratio"], c["beta"], lag)
        results |= {f"{c['name']}.{k}": v for k, v in of_bank(case, c["name"], bank).items()}
    return results


def of_bank(case: Case, name: str, bank: Pqmf) -> Values:
    for ours, stored in zip(bank.filters(), ("analysis", "synthesis"), strict=True):
        golden = case.weights[f"{name}.{stored}_filter"].reshape(ours.shape)
        np.testing.assert_allclose(ours, golden, atol=1e-7)  # one float32 rounding of 1
    x = case.given(f"in.{name}.x")[:, 0]

    @jax.jit
    def compute(x: jax.Array, bands: jax.Array) -> list[jax.Array]:
        split = bank.analysis(x)
        return [split, bank.synthesis(split), bank.synthesis(bands)]

    split, trip, joined = compute(x, swap(case.given(f"in.{name}.bands_in")))
    middle = slice(2 * bank.taps, trip.shape[1] - 2 * bank.taps)
    error = np.asarray(trip, np.float64)[:, middle] - x[:, middle]
    power = (x[:, middle].astype(np.float64) ** 2).sum(1)
    return {
        "analysis": swap(split),
        "roundtrip": np.asarray(trip)[:, None],
        "roundtrip_snr_db": 10 * np.log10(power / (error**2).sum(1)),
        "synthesis": np.asarray(joined)[:, None],
    }


def vocos_istft(case: Case) -> Values:
    results: Values = {}
    for g in case.small["geometries"]:
        spec = case.given(f"in.{g['name']}.spec")
        z = swap(spec[..., 0] + 1j * spec[..., 1])
        g.follows("frames", z.shape[1])
        sizes = g["n_fft"], g["hop_length"], g["win_length"], g["padding"]
        inverse = jax.jit(lambda z, sizes=sizes: istft(z, *sizes))
        results[f"{g['name']}.audio"] = inverse(z)
        window = case.weights[f"ops.{g['name']}.window"]
        np.testing.assert_allclose(hann(g["win_length"]), window, atol=2e-7)  # float32 cosines
    return results


ADAPTERS = {
    "resample_sinc": resample_sinc,
    "pqmf": pqmf,
    "pqmf_mbistft": pqmf,
    "vocos_istft": vocos_istft,
}
