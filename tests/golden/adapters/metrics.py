"""Metrics against each peer's own code."""

from __future__ import annotations

from typing import Any

import numpy as np

from codecbwe_jax.evaluation import metrics
from tests.golden.case import Case, Check


def ap_bwe_metrics(case: Case) -> dict[str, Any]:
    ref, syn = case.given("ref")[0], case.given("syn")[0]
    case.small.follows("N", len(ref))
    results: dict[str, Any] = {"out_lsd": metrics.lsd(syn, ref), "out_snr": metrics.snr(syn, ref)}
    for distance in ("apd_ip", "apd_gd", "apd_iaf"):
        case.leave_out(f"out_{distance}", "phase distances are not offered")
    for name, wave in (("pha_ref_sub", ref), ("pha_syn_sub", syn)):
        angles = np.angle(metrics.spectrum(wave))[:, ::8].T[None]
        # frame 0 is symmetric by reflection: its phase is 0 or pi at random
        results[name] = Check(angles, samples=(1, angles.shape[-1]), wrapped=True)
    return results


# Figures of a package that is no dependency of ours, or of a peer's report that ours lacks.
NOT_OURS = {
    "audiosr_": "AudioSR's own gain-matched distance is not offered",
    "apbwe_apd_": "phase distances are not offered",
    "ssr_eval_": "not offered",
    "stoi": "needs pystoi",
    "estoi": "needs pystoi",
    "pesq": "needs pesq, which must be compiled",
    "f0_": "pitch is not measured",
    "vuv_": "pitch is not measured",
}


def metrics_case(case: Case) -> dict[str, Any]:
    rate = case.small["sample_rate"]
    ref = case.given("ref_48k") / np.float32(32768)
    pairs = {
        name.removeprefix("est_"): (case.given(name) / np.float32(32768), ref)
        for name in case.io
        if name.startswith("est_")
    }
    noise = case.given("silence_est_noise") / np.float32(32768)
    pairs["silence_ref_noise_est"] = (noise, np.zeros_like(noise))
    pairs["silence_vs_silence"] = (np.zeros_like(noise), np.zeros_like(noise))
    results: dict[str, Any] = {}
    for name, (est, target) in pairs.items():
        values = {
            # 9.1e-6 is what the case's notes give between float32 and float64
            "apbwe_lsd": metrics.lsd(est, target),
            "apbwe_lsd_f64": metrics.lsd(est, target),
            "apbwe_snr": metrics.snr(est, target),
            "nuwave2_lsd_hf": metrics.lsd_high(est, target, rate, 8000),
            "nuwave2_lsd_lf": metrics.lsd_low(est, target, rate, 8000),
            "si_sdr": metrics.si_sdr(est, target),
            "si_sdr_zero_mean": metrics.si_sdr(est, target, zero_mean=True),
            "spectral_convergence": metrics.spectral_convergence(est, target),
            "auraloss_sc": metrics.spectral_convergence(est, target),
        }
        for metric, value in values.items():
            tensor = f"out__{name}__{metric}"
            if tensor in case.io:
                results[tensor] = Check(np.atleast_1d(value))
    for tensor in set(case.io) - set(results) - case.inputs:
        metric = tensor.split("__")[-1]
        for prefix, reason in NOT_OURS.items():
            if metric.startswith(prefix) or tensor.startswith(("ref_16k", "est16_")):
                case.leave_out(tensor, reason)
    return results


ADAPTERS = {"ap_bwe_metrics": ap_bwe_metrics, "metrics": metrics_case}
