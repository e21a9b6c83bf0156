"""FLowHigh's mel, and its splices of mels and waveforms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.cutoff import energy_cut
from codecbwe_jax.audio.mel import MelSettings, log_mel
from codecbwe_jax.audio.splice import join_bins, splice
from codecbwe_jax.audio.stft import istft, stft
from tests.golden.case import Case, Check
from tests.golden.networks import Values

SHARE = 0.985  # of the energy that says where the known band of a mel ends


def flowhigh_dsp(case: Case) -> Values:
    case.small.changes_nothing("lowpass_hz")
    case.leave_out("mel/in_wav_lowpassed", "its mel is given too: melrep/in_cond")
    c = case.config["full_config"]
    settings = MelSettings(
        c["sampling_rate"],
        c["n_fft"],
        c["hop_length"],
        c["n_mels"],
        c["win_length"],
        c["f_min"],
        c["f_max"],
        padding="same",
        floor=c["log_clip"],
        power_floor=c["mag_eps"],
    )
    wave, sampled, condition = (
        case.given(n) for n in ("mel/in_wav", "melrep/in_samples", "melrep/in_cond")
    )
    case.small.follows("samples", wave.shape[1])

    @jax.jit
    def compute(wave: jax.Array, sampled: jax.Array, condition: jax.Array) -> Values:
        cut = energy_cut(jnp.exp(condition), SHARE)
        return {
            "mel/out_logmel": log_mel(wave, settings),
            "melrep/cutoff_bins": cut,
            "melrep/out": join_bins(condition, sampled, cut),
        }

    filters = settings.filterbank().T
    results = compute(wave, sampled, condition) | of_splice(case, c["post"])
    results["mel/filterbank_row_sums"] = filters.sum(1)
    results["mel/filterbank_col_sums"] = filters.sum(0)
    for name in case.io:
        if found := re.fullmatch(r"mel/filterbank_rows((?:_\d+)+)", name):
            results[name] = filters[[int(row) for row in found[1].split("_")[1:]]]
    return results


def of_splice(case: Case, c: Mapping[str, Any]) -> Values:
    source, predicted = case.given("post/in_src"), case.given("post/in_pred")
    sizes = c["n_fft"], c["hop"]

    @jax.jit
    def compute(source: jax.Array, predicted: jax.Array) -> Values:
        known, made = (stft(x, *sizes, padding="zeros") for x in (source, predicted))
        cut = energy_cut(jnp.abs(known), c["energy_threshold"])
        turned, repeated = with_phase(known, made, cut)
        spliced = splice(source, predicted, *sizes, cut)
        phased = istft(turned, *sizes, samples=source.shape[1])
        peak, other = (jnp.max(jnp.abs(x)) / c["peak"] for x in (spliced, phased))
        return {
            "post/cutoff_index": cut,
            "post/out": spliced / peak,
            "phased": phased / other,
            "repeated": repeated,
        }

    results = compute(source, predicted)
    wave, repeated = (np.asarray(results.pop(name)) for name in ("phased", "repeated"))
    cut = int(results["post/cutoff_index"][0])
    return results | of_repeated_phases(case, c["n_fft"], cut, wave, repeated)


def of_repeated_phases(
    case: Case, n_fft: int, cut: int, wave: np.ndarray, repeated: np.ndarray
) -> Values:
    """The variant with the source's phases, where it has any: those of empty bins are rounding, in
    the original too, and all that is above the cut is made of them, the waveform's peak too."""
    name, samples = "post/with_phase_out", wave.shape[1]
    case.leave_out(f"{name}@above_the_cut", "made of empty bins' phases: see the replicated ones")
    results: Values = {}
    # what is above leaks a little below the edge: half of the band, at the level that it has itself
    band = slice(cut * samples // (2 * n_fft))
    spectra = (np.fft.rfft(x * np.hanning(samples))[:, band] for x in (wave, case.io[name]))
    low, golden = (z.view(float) / np.linalg.norm(z) for z in spectra)
    results[f"{name}@far_below_the_cut"] = Check(low, against=golden, figure=0.0)
    for name in case.io:
        if found := re.fullmatch(r"post/with_phase_replicated_phase_frame(\d+)", name):
            z = repeated[0, int(found[1]), cut:]
            full = np.abs(z) > 1e-3 * np.abs(repeated).max()
            if full.any():
                results[name] = Check(np.angle(z), where=full, wrapped=True, reason="full bins")
            else:
                case.leave_out(name, "all of these bins are empty")
    return results


def with_phase(
    source: jax.Array, predicted: jax.Array, cut: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The source's bins below the cut `[1]`; above it the magnitudes predicted, with the phases
    below repeated so that the last one ends them.

    Args:
      source, predicted: `[1, frames, bins]`.

    Returns:
      That, and the source's bins whose phases it has.
    """
    frames = min(source.shape[1], predicted.shape[1])
    source, predicted = source[:, :frames], predicted[:, :frames]
    bins = jnp.arange(source.shape[2])
    places = jnp.where(bins < cut, bins, (bins - len(bins)) % cut)
    repeated = jnp.take(source, places, axis=2)
    angle = jnp.angle(repeated)
    turned = jnp.abs(predicted) * jax.lax.complex(jnp.cos(angle), jnp.sin(angle))
    return join_bins(source, turned, cut), repeated


ADAPTERS = {"flowhigh_dsp": flowhigh_dsp}
