"""HiFi-GAN+: the generator at several input rates, its critics, its losses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.discriminators.hifi_gan_plus import MEL, HifiGanPlusDiscriminator
from codecbwe_jax.interop.weights import from_torch
from codecbwe_jax.losses.adversarial import (
    feature_matching,
    least_squares_discriminator,
    least_squares_generator,
)
from codecbwe_jax.losses.mel import log_mel, log_mel_l1
from codecbwe_jax.losses.stft import log_stft_l1
from codecbwe_jax.losses.waveform import waveform_l1
from codecbwe_jax.systems.hifi_gan_bwe import HifiGanBwe
from tests.golden.case import Case, Check
from tests.golden.networks import Values, load, run, swap

CONTENT_MEL = dataclasses.replace(MEL, f_min=4000.0)


def build(c: Mapping[str, Any]) -> HifiGanBwe:
    return HifiGanBwe(
        channels=c["wavenet_channels"],
        stacks=c["stacks"],
        layers=c["layers"],
        dilation_base=c["dilation_base"],
    )


def parameters(case: Case, system: HifiGanBwe) -> Any:
    like = jax.eval_shape(system.init, jax.random.key(0))
    weights = {k: v for k, v in case.weights.items() if k not in system.torch_constants}
    params = load(system.torch_rules, weights, like)
    # the released files hold folded weights
    plain = load_file(case.folder / "weights_plain.safetensors")
    folded = {k: v for k, v in plain.items() if k not in system.torch_constants}
    again = from_torch(system.torch_rules, folded, like)
    wave = np.sin(np.arange(600, dtype=np.float32))[None]
    # kernels are a rounding apart, and eight layers follow one another
    np.testing.assert_allclose(
        system.generate(again, wave), system.generate(params, wave), atol=1e-5
    )
    return params


def hifi_gan_bwe(case: Case) -> Values:
    system = build(case.small)
    params = parameters(case, system)
    results: Values = {}
    for name in [k for k in case.io if re.fullmatch(r"\d+_in", k)]:
        rate = int(name.removesuffix("_in"))
        at = dataclasses.replace(system, input_rate=rate)
        wave = case.given(name)[:, 0]
        results[f"{rate}_up"] = np.asarray(resample(wave, rate, 48000, at.resampler))[:, None]
        results[f"{rate}_out"] = np.asarray(at.extend(params, wave, None))[:, None]
        if f"kernel_{rate}" in case.io:
            kernel, _ = sinc_kernel(rate, 48000, SINC_FILTERS[at.resampler])
            results[f"kernel_{rate}"] = kernel[:, None]
    results["vector_out_16000"] = results["16000_out"][0, 0]
    side = system.padding
    wide = np.pad(results["16000_up"][:, 0], ((0, 0), (side, side)))
    out, inner = run(system.network, params, wide[..., None])
    results["16000_wavenet_out"] = swap(out)
    # the original's samples: the first item, every eighth
    results["16000_conv_in_sub"] = swap(inner["conv_in"])[:1, :, ::8]
    for i in range(system.stacks * system.layers):
        outputs = {"res": inner[f"layers_{i}"], "skip": inner[f"layers_{i}/conv_skip"]}
        for part, value in outputs.items():
            results[f"16000_layer{i}_{part}_sub"] = swap(value)[:1, :, ::8]
    return results


def critic_of(c: Mapping[str, Any], trains: bool) -> HifiGanPlusDiscriminator:
    return HifiGanPlusDiscriminator(
        c["wave_channels"], c["wave_groups"], 2 * c["mel_channels"], trains
    )


def hifi_gan_bwe_disc(case: Case) -> Values:
    critic = critic_of(case.small, trains=False)
    wave = case.given("y")[:, 0]
    buffers = re.compile(r".*(num_batches_tracked|mel_scale\.fb|spectrogram\.window)")
    running = re.compile(r".*running_(mean|var)")
    weights = {k: v for k, v in case.weights.items() if not buffers.fullmatch(k)}
    own = {k: v for k, v in weights.items() if not running.fullmatch(k)}
    like = jax.eval_shape(critic.init, jax.random.key(0), wave)
    variables = {
        "params": load(critic.torch_rules, own, like["params"]),
        "batch_stats": load(
            critic.state_rules,
            {k: v for k, v in weights.items() if k not in own},
            like["batch_stats"],
        ),
    }
    judged = jax.jit(critic.apply)(variables, wave)
    trained, _ = critic_of(case.small, trains=True).apply(variables, wave, mutable=["batch_stats"])
    results: Values = {
        "out": jnp.stack([score for score, _ in judged], axis=1),
        "out_train_mode": jnp.stack([score for score, _ in trained], axis=1),
        "logmel": np.asarray(log_mel(wave[:1], MEL))[:, None].swapaxes(2, 3)[..., ::4],
    }
    for rate in critic.rates[:-1]:
        name = f"resampled_{rate}_sub"
        low = np.asarray(resample(wave[:1], 48000, rate, "torchaudio"))[:, None]
        results[name] = low[..., :: low.shape[-1] // case.io[name].shape[-1]]
    maps = [m for _, maps in judged for m in maps]
    for i, feature_map in enumerate(maps):
        order = (0, 3, 1, 2) if feature_map.ndim == 4 else (0, 2, 1)
        value = np.asarray(feature_map).transpose(order)
        _, step = case.config["feature_strides"][f"f{i:02d}"]
        results[f"f{i:02d}_flat_sub"] = value.reshape(-1)[::step]
        results[f"f{i:02d}_stat"] = np.array(
            [value.mean(), np.abs(value).mean(), value.std(ddof=1)]
        )
    return results


def content(target: Any, predicted: Any) -> dict[str, Any]:
    """The three terms of the content loss."""
    return {
        "out_wav": waveform_l1(target, predicted),
        "out_stft_mean": log_stft_l1(target, predicted),
        "out_mel": log_mel_l1(target, predicted, CONTENT_MEL),
    }


def weight_norm(folder: Path) -> np.ndarray:
    """L2 norm of the case's weights without biases and gains, as the original logs it."""
    weights = load_file(folder / "weights.safetensors")
    kernels = [v for k, v in weights.items() if k.endswith("weight_v")]
    return np.sqrt(sum(np.sum(np.square(v, dtype=np.float64)) for v in kernels))


def hifi_gan_bwe_losses(case: Case) -> Values:
    target, predicted = (case.given(name)[:, 0] for name in ("y_true", "y_pred"))
    terms = content(target, predicted)
    gradient = jax.grad(lambda w: sum(content(target, w).values()))(predicted)
    results: Values = terms | {
        "out_total": sum(terms.values()),
        "grad_y_pred": Check(
            np.asarray(gradient)[:, None],
            relative=1e-2,
            reason="the original's own float32 and float64 runs differ by 4e-3 of 0.5: a bin whose "
            "two logarithms agree to rounding has a gradient of either sign",
        ),
        "metric_weight_norm": weight_norm(case.folder.parent / "hifi_gan_bwe"),
        "logmel_true": np.asarray(log_mel(target[:1], CONTENT_MEL))[:, None].swapaxes(2, 3),
        "mel_fb_nonzero_cols": CONTENT_MEL.filterbank().sum(0),
    }
    for name in ("metric_content_loss", "metric_grad_norm", "metric_target"):
        case.leave_out(name, "the waveform that they were computed from is not in the case")
    # two fake items, then two true ones
    scores = jnp.asarray(case.given("disc_out"))
    scores = [scores[2:, i] for i in range(5)], [scores[:2, i] for i in range(5)]
    maps = [jnp.asarray(case.given(f"disc_feat_{i}")) for i in range(3)]
    maps = [[m[2:] for m in maps]], [[m[:2] for m in maps]]
    results |= {
        "out_adv_gen": least_squares_generator(scores[1], "mean"),
        # of all scores at once, so half of the usual sum
        "out_disc": least_squares_discriminator(*scores, "mean") / 2,
        "out_feat": feature_matching(*maps, "mean"),
    }
    for window in (512, 1024, 2048, 4096):
        results[f"out_stft_{window}"] = log_stft_l1(target, predicted, (window,))
    return results


def full_hifi_gan_bwe(c: Mapping[str, Any]) -> tuple[Any, Any]:
    system = build(c)
    return system.torch_rules, jax.eval_shape(system.init, jax.random.key(0))


ADAPTERS = {
    "hifi_gan_bwe": hifi_gan_bwe,
    "hifi_gan_bwe_disc": hifi_gan_bwe_disc,
    "hifi_gan_bwe_losses": hifi_gan_bwe_losses,
}
FULL_NETWORKS = {"hifi_gan_bwe": full_hifi_gan_bwe}
