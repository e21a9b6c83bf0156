"""HiFi-GAN+: the generator at several input rates, its critics, its losses."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from codecbwe_jax.audio.mel import log_mel
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.discriminators.hifi_gan_plus import MEL, HifiGanPlusDiscriminator
from codecbwe_jax.losses.adversarial import (
    feature_matching,
    least_squares_discriminator,
    least_squares_generator,
)
from codecbwe_jax.losses.mel import log_mel_l1
from codecbwe_jax.losses.stft import log_stft_l1
from codecbwe_jax.losses.waveform import waveform_l1
from codecbwe_jax.systems.hifi_gan_bwe import HifiGanBwe
from codecbwe_jax.weights.rules import from_torch
from tests.golden.case import Case, Check
from tests.golden.networks import Names, Values, folded, load, names, run, swap
from tests.golden.settings import Settings

CONTENT_MEL = dataclasses.replace(MEL, f_min=4000.0)
# which samples the cases keep of long tensors
EVERY = {"layers": 8, "log_mel": 4, 6000: 2, 12000: 4, 24000: 4}


def build(c: Settings) -> HifiGanBwe:
    c.only("in_channels", 1)
    c.only("out_channels", 1)
    c.only("kernel_size", 3)
    return HifiGanBwe(
        output_rate=c.get("sample_rate", 48000),
        channels=c["wavenet_channels"],
        stacks=c["stacks"],
        layers=c["layers"],
        dilation_base=c["dilation_base"],
    )


def parameters(case: Case, system: HifiGanBwe) -> Any:
    like = jax.eval_shape(system.init, jax.random.key(0))
    for name, value in system.torch_constants.items():
        assert np.array_equal(case.weights.get(name, value), value)
    weights = {k: v for k, v in case.weights.items() if k not in system.torch_constants}
    params = load(system.torch_rules, weights, like)
    plain = case.folder / "weights_plain.safetensors"
    if plain.exists():  # the released files hold folded weights
        constants = system.torch_constants
        again = from_torch(system.torch_rules, load_file(plain), like, constants)
        wave = np.sin(np.arange(600, dtype=np.float32))[None]
        generate = jax.jit(system.generate)
        # kernels are a rounding apart, and eight layers follow one another
        np.testing.assert_allclose(generate(again, wave), generate(params, wave), atol=1e-5)
    return params


def hifi_gan_bwe(case: Case) -> Values:
    system = build(case.small)
    params = parameters(case, system)
    results: Values = {}
    for name in [k for k in case.io if re.fullmatch(r"\d+_in", k)]:
        rate = int(name.removesuffix("_in"))
        at = dataclasses.replace(system, input_rate=rate)
        wave = case.given(name)[:, 0]
        upsample = jax.jit(lambda x, s=at: resample(x, s.input_rate, s.output_rate, s.resampler))
        extend = jax.jit(lambda p, x, s=at: s.extend(p, x))
        results[f"{rate}_up"] = np.asarray(upsample(wave))[:, None]
        results[f"{rate}_out"] = np.asarray(extend(params, wave))[:, None]
        if f"kernel_{rate}" in case.io:
            kernel, _ = sinc_kernel(rate, at.output_rate, SINC_FILTERS[at.resampler])
            results[f"kernel_{rate}"] = kernel[:, None]
        if f"vector_out_{rate}" in case.io:  # of the first item alone
            results[f"vector_out_{rate}"] = extend(params, wave[:1])[0]
        if f"{rate}_wavenet_out" in case.io:
            inside = layers(system, params, results[f"{rate}_up"][:, 0])
            results |= {f"{rate}_{k}": v for k, v in inside.items()}
    return results


def layers(system: HifiGanBwe, params: Any, wide: np.ndarray) -> Values:
    """The network's inside on the padded signal; of the layers what the case keeps of them."""

    def kept(x: Any) -> np.ndarray:
        return swap(x)[:1, :, :: EVERY["layers"]]

    side = system.padding
    padded = np.pad(wide, ((0, 0), (side, side)))
    out, inner = run(system.network, params, padded[..., None])
    results = {"wavenet_out": swap(out), "conv_in_sub": kept(inner["conv_in"])}
    for i in range(system.stacks * system.layers):
        results[f"layer{i}_res_sub"] = kept(inner[f"layers_{i}"])
        results[f"layer{i}_skip_sub"] = kept(inner[f"layers_{i}/conv_skip"])
    return results


def critic_of(c: Settings, mel_channels: int, trains: bool) -> HifiGanPlusDiscriminator:
    return HifiGanPlusDiscriminator(c["wave_channels"], c["wave_groups"], mel_channels, trains)


def hifi_gan_bwe_disc(case: Case) -> Values:
    mel_channels = 2 * case.small["mel_channels"]  # a gate leaves half of them
    critic = critic_of(case.small, mel_channels, trains=False)
    learner = critic_of(case.small, mel_channels, trains=True)
    wave = case.given("y")[:, 0]
    buffers = re.compile(r".*(num_batches_tracked|mel_scale\.fb|spectrogram\.window)")
    running = re.compile(r".*running_(mean|var)")
    weights = {k: v for k, v in case.weights.items() if not buffers.fullmatch(k)}
    own = {k: v for k, v in weights.items() if not running.fullmatch(k)}
    like = jax.eval_shape(critic.init, jax.random.key(0), wave)
    rest = {k: v for k, v in weights.items() if k not in own}
    variables = {
        "params": load(critic.torch_rules, own, like["params"]),
        "batch_stats": load(critic.state_rules, rest, like["batch_stats"]),
    }

    @jax.jit
    def judge(variables: Any, wave: jax.Array) -> list[Any]:
        judged = critic.apply(variables, wave)
        trained, _ = learner.apply(variables, wave, mutable=["batch_stats"])
        scores = [jnp.stack([score for score, _ in j], axis=1) for j in (judged, trained)]
        lower = [resample(wave[:1], critic.rates[-1], r, "torchaudio") for r in critic.rates[:-1]]
        return [*scores, log_mel(wave[:1], MEL), lower, [m for _, maps in judged for m in maps]]

    out, trained, mels, lower, maps = judge(variables, wave)
    results: Values = {
        "out": out,
        "out_train_mode": trained,
        "logmel": swap(mels)[:, None, :, :: EVERY["log_mel"]],
    }
    for rate, low in zip(critic.rates[:-1], lower, strict=True):
        results[f"resampled_{rate}_sub"] = np.asarray(low)[:, None, :: EVERY[rate]]
    for i, feature_map in enumerate(maps):
        order = (0, 3, 1, 2) if feature_map.ndim == 4 else (0, 2, 1)
        value = np.asarray(feature_map).transpose(order)
        shape, step = case.config["feature_strides"][f"f{i:02d}"]
        assert list(value.shape) == shape
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


def hifi_gan_bwe_losses(case: Case) -> Values:
    target, predicted = (case.given(name)[:, 0] for name in ("y_true", "y_pred"))
    case.small.follows("N", target.shape[1])

    @jax.jit
    def of_waveforms(target: jax.Array, predicted: jax.Array) -> Values:
        terms = content(target, predicted)
        windows = (512, 1024, 2048, 4096)
        return terms | {
            "out_total": sum(terms.values()),
            "grad_y_pred": jax.grad(lambda w: sum(content(target, w).values()))(predicted),
            "logmel_true": log_mel(target[:1], CONTENT_MEL)[:, None].swapaxes(2, 3),
            **{f"out_stft_{w}": log_stft_l1(target, predicted, (w,)) for w in windows},
        }

    results = of_waveforms(target, predicted)
    results["grad_y_pred"] = Check(
        np.asarray(results["grad_y_pred"])[:, None],
        relative=1e-2,
        reason="the original's own float32 and float64 runs differ by 4e-3 of 0.5: a bin whose "
        "two logarithms agree to rounding has a gradient of either sign",
    )
    results["mel_fb_nonzero_cols"] = CONTENT_MEL.filterbank().sum(0)
    return results | of_scores(case) | of_generator(case)


def of_scores(case: Case) -> Values:
    """Losses of a critic's judgements; the first half of a batch is fake."""
    count = len([k for k in case.io if k.startswith("disc_feat_")])
    scores = case.given("disc_out")
    maps = [case.given(f"disc_feat_{i}") for i in range(count)]

    @jax.jit
    def compute(scores: jax.Array, maps: list[jax.Array]) -> Values:
        half = len(scores) // 2
        fake, real = (list(s.T) for s in (scores[:half], scores[half:]))
        return {
            "out_adv_gen": least_squares_generator(fake, "mean"),
            # of all scores at once, so half of the usual sum
            "out_disc": least_squares_discriminator(real, fake, "mean") / 2,
            "out_feat": feature_matching([[m[half:] for m in maps]], [[m[:half] for m in maps]])
            / len(maps),
        }

    return compute(scores, maps)


def of_generator(case: Case) -> Values:
    """The content loss of the generator of the case "hifi_gan_bwe" beside this one, and the norm of
    its gradient."""
    tensors = ("metric_content_loss", "metric_grad_norm")
    case.leave_out("metric_weight_norm", "ours logs no norm of weights")
    target, beside = case.given("metric_target")[:, 0], case.folder.parent / "hifi_gan_bwe"
    if not beside.exists():
        for name in tensors:
            case.leave_out(name, f"made with the generator of {beside}, which is not there")
        return {}
    other = Case(beside)
    system = dataclasses.replace(build(other.small), input_rate=16000)
    params, wave = parameters(other, system), other.given("16000_in")[:, 0]

    @jax.jit
    def loss_and_gradient(params: Any) -> tuple[jax.Array, Any]:
        def loss(params: Any) -> jax.Array:
            y = system.extend(params, wave)
            y = jnp.pad(y, ((0, 0), (0, target.shape[1] - y.shape[1])))
            return sum(content(target, y).values())

        return jax.value_and_grad(loss)(params)

    value, gradient = loss_and_gradient(params)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(gradient)))
    loose = Check(norm, relative=1e-2, reason="of the gradient that grad_y_pred is")
    return dict(zip(tensors, (value, loose), strict=True))


def full_hifi_gan_bwe(c: Settings) -> Names:
    system = build(c)
    ours = names(system.torch_rules, jax.eval_shape(system.init, jax.random.key(0)))
    ours |= {name: list(value.shape) for name, value in system.torch_constants.items()}
    forms = {"weight_norm_form": ours, "plain_form": folded(ours)}
    return {f"{form}/{k}": v for form, keys in forms.items() for k, v in keys.items()}


def full_disc(c: Settings) -> Names:
    critic = critic_of(c, int(re.match(r"\d+", c["mel_channels"])[0]), trains=False)
    wave = jax.ShapeDtypeStruct((1, 48000), jnp.float32)
    like = jax.eval_shape(critic.init, jax.random.key(0), wave)
    state = names(critic.state_rules, like["batch_stats"])
    return names(critic.torch_rules, like["params"]) | state


ADAPTERS = {
    "hifi_gan_bwe": hifi_gan_bwe,
    "hifi_gan_bwe_disc": hifi_gan_bwe_disc,
    "hifi_gan_bwe_losses": hifi_gan_bwe_losses,
}
FULL_NETWORKS = {"hifi_gan_bwe": full_hifi_gan_bwe, "hifi_gan_bwe_disc": full_disc}
