"""Critics of the native decoders' recipes: every feature map, every score, the losses of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.discriminators.banded_stft import MultiBandedStftDiscriminator, normalised
from codecbwe_jax.discriminators.complex_stft import (
    ComplexSpectrumDiscriminator,
    MultiScaleStftDiscriminator,
)
from codecbwe_jax.discriminators.dac import DacDiscriminator
from codecbwe_jax.discriminators.magnitude_stft import MultiResolutionMagnitudeDiscriminator
from codecbwe_jax.discriminators.mpd import MultiPeriodDiscriminator
from codecbwe_jax.discriminators.scale import MultiScaleDiscriminator, halved
from codecbwe_jax.discriminators.subband import SubbandDiscriminator
from codecbwe_jax.interop.weights import from_torch, to_torch
from codecbwe_jax.losses.adversarial import (
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from tests.golden.adapters.discriminators import flat, full, period_map, spectral_map
from tests.golden.case import Case
from tests.golden.networks import Values, load, swap

Judgements = list[tuple[jax.Array, list[jax.Array]]]


def parameters(case: Case, critic: nn.Module, **condition: Any) -> Any:
    """The case's weights; windows of transforms are constants here."""
    samples = case.small.get("segment_size", 8192)
    like = jax.eval_shape(
        lambda: critic.init(jax.random.key(0), np.zeros((1, samples), np.float32), **condition)
    )["params"]
    constants = re.compile(r".*window|f?_?pqmf\..*")
    weights = {k: v for k, v in case.weights.items() if not constants.fullmatch(k)}
    params = from_torch(critic.torch_rules, weights, like)
    again = to_torch(critic.torch_rules, params)
    assert all(np.array_equal(weights[k], v) for k, v in again.items())
    return params


def judgements(case: Case, critic: nn.Module, **condition: Any) -> dict[str, Judgements]:
    params = parameters(case, critic, **condition)
    judge = jax.jit(lambda x: critic.apply({"params": params}, x, **condition))
    waves = {"real": case.given("in.y"), "fake": case.given("in.y_hat")}
    return {side: judge(wave.reshape(wave.shape[0], -1)) for side, wave in waves.items()}


def image(x: Any) -> np.ndarray:
    """`[B, H, W, C]` -> `[B, C, H, W]`."""
    return np.asarray(x).transpose(0, 3, 1, 2)


def maps_of(
    judged: Mapping[str, Judgements],
    layout: Callable[[Any, int], np.ndarray],
    scores: bool = False,
) -> Values:
    """All maps, the scores behind them where the original keeps them there."""
    results: Values = {}
    for side, parts in judged.items():
        for i, (score, maps) in enumerate(parts):
            all_maps = [*maps, score[..., None]] if scores else maps
            for j, feature_map in enumerate(all_maps):
                results[f"{side}.fmap.{i}.{j}"] = layout(feature_map, i)
    return results


def losses(judged: Mapping[str, Judgements], kind: str) -> tuple[Any, Any, Any]:
    """(discriminator's, generator's, feature matching), summed."""
    scores = [[score for score, _ in judged[side]] for side in ("real", "fake")]
    maps = [[m for _, m in judged[side]] for side in ("real", "fake")]
    judge, fool = {
        "hinge": (hinge_discriminator, hinge_generator),
        "least_squares": (least_squares_discriminator, least_squares_generator),
    }[kind]
    return judge(*scores), fool(scores[1]), feature_matching(*maps)


def build_dac(c: Mapping[str, Any]) -> DacDiscriminator:
    widths = {k: c[k] for k in ("mpd_channels", "mrd_channels") if k in c}
    return DacDiscriminator(
        c["periods"],
        c["fft_sizes"],
        widths.get("mpd_channels", (32, 128, 512, 1024, 1024)),
        widths.get("mrd_channels", 32),
        rates=c.get("rates", ()),
        **{f"rate_{k}": c[f"msd_{k}"] for k in ("channels", "groups") if f"msd_{k}" in c},
    )


def dac_disc(case: Case) -> Values:
    critic = build_dac(case.small)
    judged = judgements(case, critic)

    def layout(x: Any, i: int) -> np.ndarray:
        if i < len(critic.periods):
            return period_map(x, critic.periods[i])
        return image(x) if x.ndim == 4 else swap(x)

    judge, fool, matching = losses(judged, "least_squares")
    return maps_of(judged, layout, scores=True) | {
        "preprocessed": normalised(case.given("in.y")),
        "loss.disc": judge,
        "loss.gen": fool,
        "loss.feature": matching,
    }


def vocos_losses(judged: Mapping[str, Judgements]) -> Values:
    judge, fool, matching = losses(judged, "hinge")
    return {
        "loss.disc_hinge_sum": np.reshape(judge, 1),
        "loss.gen_hinge_sum": np.reshape(fool, 1),
        "loss.feature_matching_sum": np.reshape(matching, 1),
    }


def build_vocos_mpd(c: Mapping[str, Any]) -> MultiPeriodDiscriminator:
    conditions = c["num_embeddings"] or 0
    return MultiPeriodDiscriminator(c["periods"], c["channels"], True, conditions=conditions)


def build_vocos_mrd(c: Mapping[str, Any]) -> MultiBandedStftDiscriminator:
    conditions = c["num_embeddings"] or 0
    return MultiBandedStftDiscriminator(c["fft_sizes"], c["channels"], conditions=conditions)


def condition_of(case: Case) -> dict[str, np.ndarray]:
    return {"condition": case.given("in.bandwidth_id")} if case.small["num_embeddings"] else {}


def vocos_mpd(case: Case) -> Values:
    critic = build_vocos_mpd(case.small)
    judged = judgements(case, critic, **condition_of(case))
    results = maps_of(judged, lambda x, i: period_map(x, critic.periods[i]))
    for side, parts in judged.items():
        for i, (_, maps) in enumerate(parts):
            results[f"{side}.score.{i}"] = flat(period_map(maps[-1], critic.periods[i]))
    return results | vocos_losses(judged)


def vocos_mrd(case: Case) -> Values:
    judged = judgements(case, build_vocos_mrd(case.small), **condition_of(case))
    results = maps_of(judged, lambda x, i: image(x))
    for side, parts in judged.items():
        results |= {f"{side}.score.{i}": image(maps[-1]) for i, (_, maps) in enumerate(parts)}
    return results | vocos_losses(judged)


def build_encodec(c: Mapping[str, Any]) -> MultiScaleStftDiscriminator:
    return MultiScaleStftDiscriminator(c["n_ffts"], c["filters"])


def encodec_msstftd(case: Case) -> Values:
    judged = judgements(case, build_encodec(case.small))
    results = maps_of(judged, lambda x, i: image(x))
    for side, parts in judged.items():
        results |= {f"{side}.logits.{i}": image(s[..., None]) for i, (s, _) in enumerate(parts)}
    wave = case.io["in.y"][:, 0]
    for i, window in enumerate(case.small["n_ffts"]):
        z = ComplexSpectrumDiscriminator(window, 1).spectrogram(wave).swapaxes(1, 2)[:, None]
        results[f"spec.{i}"] = np.stack([z.real, z.imag], axis=-1)
    judge, fool, _ = losses(judged, "hinge")
    count = len(case.small["n_ffts"])
    maps = [[m for _, m in judged[side]] for side in ("real", "fake")]
    return results | {
        "loss.disc_hinge": judge / count,
        "loss.gen_hinge": fool / count,
        "loss.feature_relative": feature_matching(*maps, "mean", relative=True),
    }


def build_univnet(c: Mapping[str, Any]) -> MultiResolutionMagnitudeDiscriminator:
    width = int(32 * c["discriminator_channel_mult"])
    return MultiResolutionMagnitudeDiscriminator(c["resolutions"], width)


def univnet_mrd(case: Case) -> Values:
    judged = judgements(case, build_univnet(case.small))
    results = maps_of(judged, lambda x, i: spectral_map(x))
    for side, parts in judged.items():
        for i, (_, maps) in enumerate(parts):
            results[f"{side}.score.{i}"] = flat(spectral_map(maps[-1]))
    judge, fool, matching = losses(judged, "least_squares")
    # HiFi-GAN's factor of two
    return results | {"loss.disc": judge, "loss.gen": fool, "loss.feature": 2 * matching}


def full_conditional(build: Callable[[dict[str, Any]], nn.Module]) -> Callable[..., Any]:
    def network(config: dict[str, Any]) -> tuple[Any, Any]:
        critic = build(config)
        given = np.zeros((1, 8192), np.float32), np.zeros(1, np.int32)
        shapes = jax.eval_shape(functools.partial(critic.init, jax.random.key(0)), *given)
        return critic.torch_rules, shapes["params"]

    return network


def build_avocodo(c: Mapping[str, Any]) -> SubbandDiscriminator:
    def tuples(x: Any) -> Any:
        return tuple(tuples(y) for y in x) if isinstance(x, list) else x

    return SubbandDiscriminator(
        tuples(c["sbd_band_ranges"]),
        tuples(c["sbd_transpose"]),
        *(tuples(c[f"sbd_{name}"]) for name in ("filters", "strides", "kernel_sizes", "dilations")),
        tuples(c["pqmf_config"]["sbd"]),
        tuples(c["pqmf_config"]["fsbd"]),
    )


def avocodo_sbd(case: Case) -> Values:
    critic = build_avocodo(case.small)
    judged = judgements(case, critic)
    results = maps_of(judged, lambda x, i: swap(x))
    for side, parts in judged.items():
        for i, (score, _) in enumerate(parts):
            results[f"{side}.score.{i}"] = np.asarray(score)[:, None]
    judge, fool, matching = losses(judged, "least_squares")
    wave = case.io["in.y"][:, 0]
    return results | {
        "pqmf.analysis": swap(Pqmf(*critic.bank).analysis(wave)),
        "f_pqmf.analysis": swap(Pqmf(*critic.fine_bank).analysis(wave)),
        "loss.disc": judge,
        "loss.gen": fool,
        # HiFi-GAN's factor of two
        "loss.feature": 2 * matching,
    }


def build_hifigan(c: Mapping[str, Any]) -> dict[str, nn.Module]:
    """HiFi-GAN's two critics, of a small or of the full config."""
    m, p = c.get("msd", {}), c.get("mpd", {})
    return {
        "mpd": MultiPeriodDiscriminator(channels=c.get("mpd_channels") or p["channels"]),
        "msd": MultiScaleDiscriminator(
            c.get("msd_channels") or m["channels"], c.get("msd_groups") or m["groups"]
        ),
    }


def hifigan_mpd_msd(case: Case) -> Values:
    waves = {side: case.given(f"y_{side}")[:, 0] for side in ("real", "gen")}
    results: Values = {}
    for name, critic in build_hifigan(case.small).items():
        variables = hifigan_variables(case, name, critic)
        judge = jax.jit(functools.partial(critic.apply, variables))
        judged = {side: judge(wave) for side, wave in waves.items()}
        for side, parts in judged.items():
            for i, (_, maps) in enumerate(parts):
                for j, x in enumerate(maps):
                    value = period_map(x, critic.periods[i]) if name == "mpd" else swap(x)
                    results[f"{name}{i}_fmap{j}_{side}"] = value
                results[f"{name}{i}_out_{side}"] = flat(value)
        scores = [[score for score, _ in parts] for parts in judged.values()]
        maps = [[m for _, m in parts] for parts in judged.values()]
        results |= {
            f"loss_{name}_disc": least_squares_discriminator(*scores),
            f"loss_{name}_gen": least_squares_generator(scores[1]),
            # HiFi-GAN's factor of two
            f"loss_{name}_feature": 2 * feature_matching(*maps),
        }
    # one power iteration, as in training
    judged, moved = critic.apply(variables, waves["real"], mutable="norms")
    results["train_msd0_out_real"] = judged[0][0]
    for j in (0, 3, 6):
        norms = moved["norms"]["scales_0"][f"convs_{j}"]
        results |= {f"train_msd0_convs{j}_{x}_after": norms[x] for x in "uv"}
    results["pooled_real_1"] = halved(waves["real"])[:, None]
    results["pooled_real_2"] = halved(halved(waves["real"]))[:, None]
    return results


def hifigan_variables(case: Case, name: str, critic: nn.Module) -> dict[str, Any]:
    """Parameters and, of the spectral norms, the two vectors."""
    prefix = f"{name}.discriminators."
    weights = {k.removeprefix(f"{name}."): v for k, v in case.weights.items() if prefix in k}
    vectors = re.compile(r"discriminators\.0\..*weight_[uv]" if name == "msd" else r"(?!)")
    like = jax.eval_shape(critic.init, jax.random.key(0), np.zeros((1, 8192), np.float32))
    own = {k: v for k, v in weights.items() if not vectors.fullmatch(k)}
    variables = {"params": load(critic.torch_rules, own, like["params"])}
    if name == "msd":
        rest = {k: v for k, v in weights.items() if k not in own}
        variables["norms"] = load(critic.state_rules, rest, like["norms"])
    return variables


ADAPTERS = {
    "avocodo_sbd": avocodo_sbd,
    "dac_disc": dac_disc,
    "dac_msd": dac_disc,
    "encodec_msstftd": encodec_msstftd,
    "hifigan_mpd_msd": hifigan_mpd_msd,
    "univnet_mrd": univnet_mrd,
    "vocos_mpd": vocos_mpd,
    "vocos_mpd_cond": vocos_mpd,
    "vocos_mrd": vocos_mrd,
    "vocos_mrd_cond": vocos_mrd,
}
FULL_NETWORKS = {
    "dac_disc": full(build_dac),
    "dac_msd": full(build_dac),
    "univnet_mrd": full(build_univnet),
    "vocos_mpd": full(build_vocos_mpd),
    "vocos_mpd_cond": full_conditional(build_vocos_mpd),
}
