"""NVSR: the U-Net over mels, what it sees, replication in its place, the splice after a vocoder."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np

from codecbwe_jax.audio.cutoff import energy_cut
from codecbwe_jax.audio.mel import MelSettings, mel
from codecbwe_jax.audio.replication import replicate_above
from codecbwe_jax.audio.splice import splice
from codecbwe_jax.audio.stft import stft
from codecbwe_jax.estimators.res_unet import ResUNet, from_log10, to_log10
from tests.golden import ssr_eval
from tests.golden.case import Case, Check
from tests.golden.networks import Names, Values, load, names, run, shapes
from tests.golden.settings import Settings

# librosa's defaults, in which ssr_eval cuts and splices
N_FFT, HOP = 2048, 512


def build(c: Settings) -> ResUNet:
    return ResUNet(c["channels_per_level"])


def mel_settings(c: Settings) -> MelSettings:
    c.only("log", "log10, clip 1e-8")
    c.only("mel", "HTK scale, no norm, fmin 0, fmax 22050")
    return MelSettings(
        c["sample_rate"], c["n_fft"], c["hop"], c["n_mels"], scale="htk", least_power=1e-8
    )


def nvsr(case: Case) -> Values:
    signal = Settings(case.config["full_config"])
    return of_network(case) | front(case, signal) | post(case, signal)


def of_network(case: Case) -> Values:
    """The network and its inside; and between linear mels."""
    network = build(case.small)
    log_mel = case.given("unet/in_log10mel")[:, 0]
    linear = case.given("gen/in_mel_linear")[:, 0]
    weights = {k: v for k, v in case.weights.items() if not k.endswith("num_batches_tracked")}
    params = load(network.torch_rules, weights, shapes(network, log_mel.shape))
    out, inner = run(network, params, log_mel)
    results: Values = {"unet/out": out, "unet/center": inner["center"]}
    for name in case.io:
        if found := re.fullmatch(r"unet/(?:(encoder)|decoder)(\d+)(?:_pool)?", name):
            results[name] = inner[f"{'down' if found[1] else 'up'}{found[2]}"]
    results = {name: channels_first(value) for name, value in results.items()}

    @jax.jit
    def generate(params: Any, linear: jax.Array) -> list[jax.Array]:
        log_mel = to_log10(linear)
        log_mel += network.apply({"params": params}, log_mel)
        return [log_mel, from_log10(log_mel)]

    made = generate(params, linear)
    tensors = ("gen/out_log10mel", "gen/out_mel_linear")
    return results | {t: channels_first(x) for t, x in zip(tensors, made, strict=True)}


def channels_first(x: Any) -> np.ndarray:
    """`[B, T, M]` or `[B, T, M, C]` -> `[B, C, T, M]`."""
    x = np.asarray(x)
    return x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)


def front(case: Case, signal: Settings) -> Values:
    """Mels, and their replication."""
    settings = mel_settings(signal)
    wave = case.given("front/in_wav")

    @jax.jit
    def compute(wave: jax.Array) -> list[jax.Array]:
        linear = mel(wave, settings)
        cut = energy_cut(linear, signal["pad_percentile"])
        return [linear, cut, replicate_above(linear, cut)]

    linear, cut, replicated = compute(wave)
    bank = settings.filterbank()
    results: Values = {
        "front/mel_linear": channels_first(linear),
        "front/filterbank_col_sums": bank.sum(0),
        "pad/cutoff_bin": cut,
        "pad/out_mel": channels_first(replicated),
    }
    for name in case.io:
        if found := re.fullmatch(r"front/filterbank_cols_(\d+(?:_\d+)*)", name):
            results[name] = bank[:, [int(i) for i in found[1].split("_")]]
    return results


def post(case: Case, signal: Settings) -> Values:
    """What follows a vocoder, and what measures the result."""
    trimmed: Values = {}
    for name in case.io:
        if found := re.fullmatch(r"trim/est(\d+)_ref(\d+)", name):
            line = np.arange(int(found[1]), dtype=np.float32)[None]
            trimmed[name] = ssr_eval.trim_center(line, int(found[2]))

    @jax.jit
    def compute(source: jax.Array, predicted: jax.Array) -> list[jax.Array]:
        magnitudes = abs(stft(source, N_FFT, HOP, padding="zeros"))
        cut = energy_cut(magnitudes, signal["post_percentile"])
        joined = splice(source, predicted, N_FFT, HOP, cut)
        return [cut, joined, ssr_eval.lsd(predicted, source, signal["sample_rate"])]

    cut, out, distance = compute(case.given("post/in_src"), case.given("post/in_pred"))
    return trimmed | {
        "post/cutoff_index": np.asarray(cut)[None],
        "post/out": out,
        "metric/lsd_44k1_pred_vs_src": Check(
            distance,
            relative=1e-2,
            reason="where the source is empty its bins are the rounding of an FFT: PyTorch's own "
            "float32 and float64 are 0.18 of 7.9 apart",
        ),
    }


def full_nvsr(c: Settings) -> Names:
    network = build(c)
    return names(network.torch_rules, shapes(network, (1, 64, c["n_mels"])))


ADAPTERS = {"nvsr": nvsr}
FULL_NETWORKS = {"nvsr": full_nvsr}
