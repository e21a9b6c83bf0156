"""Critics: every feature map, every score, the losses made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from codecbwe_jax.discriminators.mpd import MultiPeriodDiscriminator
from codecbwe_jax.discriminators.spectral import MultiResolutionDiscriminator
from codecbwe_jax.interop.weights import from_torch, to_torch
from codecbwe_jax.losses.adversarial import (
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from tests.golden.case import Case, Check

Judgements = list[tuple[jax.Array, list[jax.Array]]]


def shapes(critic: nn.Module) -> Any:
    init = jax.eval_shape(critic.init, jax.random.key(0), np.zeros((1, 8192), np.float32))
    return init["params"]


def load(case: Case, critic: nn.Module) -> Any:
    params = from_torch(critic.torch_rules, case.weights, shapes(critic))
    again = to_torch(critic.torch_rules, params)
    assert all(np.array_equal(case.weights[k], v) for k, v in again.items())
    return params


def period_map(x: jax.Array, period: int) -> np.ndarray:
    """`[B * period, T, C]` -> `[B, C, T, period]`."""
    x = np.asarray(x)
    return x.reshape(-1, period, *x.shape[1:]).transpose(0, 3, 2, 1)


def spectral_map(x: jax.Array) -> np.ndarray:
    """`[B, frames, bins, C]` -> `[B, C, bins, frames]`."""
    return np.asarray(x).transpose(0, 3, 2, 1)


def flat(score_map: np.ndarray) -> np.ndarray:
    return score_map.reshape(score_map.shape[0], -1)


def ap_bwe_tensors(
    real: Judgements, fake: Judgements, layout: Callable[[jax.Array, int], np.ndarray]
) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for side, judgements in (("real", real), ("gen", fake)):
        for i, (_, maps) in enumerate(judgements):
            for j, feature_map in enumerate(maps):
                results[f"d{i}_fmap{j}_{side}"] = layout(feature_map, i)
            results[f"d{i}_out_{side}"] = flat(layout(maps[-1], i))
    scores = [[s for s, _ in side] for side in (real, fake)]
    maps = [[m for _, m in side] for side in (real, fake)]
    results["loss_disc_hinge"] = hinge_discriminator(*scores)
    results["loss_gen_hinge"] = hinge_generator(scores[1])
    results["loss_feature"] = feature_matching(*maps)
    return results


def build_ap_bwe_mpd(config: dict[str, Any]) -> MultiPeriodDiscriminator:
    return MultiPeriodDiscriminator(config["periods"], config["channels"], skip_first_map=True)


def ap_bwe_mpd(case: Case) -> dict[str, Any]:
    critic = build_ap_bwe_mpd(case.small)
    params = load(case, critic)
    real, fake = (
        critic.apply({"params": params}, case.given(name)[:, 0]) for name in ("y_real", "y_gen")
    )
    return ap_bwe_tensors(real, fake, lambda x, i: period_map(x, critic.periods[i]))


def build_spectral(sees: str) -> Callable[[dict[str, Any]], MultiResolutionDiscriminator]:
    return lambda config: MultiResolutionDiscriminator(
        sees, config["resolutions"], config["channels"]
    )


def ap_bwe_mrad(case: Case) -> dict[str, Any]:
    critic = build_spectral("amplitude")(case.small)
    params = load(case, critic)
    waves = {side: case.given(f"y_{side}")[:, 0] for side in ("real", "gen")}
    real, fake = (critic.apply({"params": params}, w) for w in waves.values())
    results = ap_bwe_tensors(real, fake, lambda x, i: spectral_map(x))
    for side, wave in waves.items():
        for i, resolution in enumerate(critic.resolutions):
            results[f"d{i}_amp_{side}"] = critic.spectrogram(wave, resolution).swapaxes(1, 2)
    return results


def ap_bwe_mrpd(case: Case) -> dict[str, Any]:
    """The convolutions are fed with the stored phases: that of frame 0 is 0 or pi at random."""
    critic = build_spectral("phase")(case.small)
    params = load(case, critic)
    judgements, phases = [], {}
    for side in ("real", "gen"):
        wave = case.given(f"y_{side}")[:, 0]
        stored = []
        for i, resolution in enumerate(critic.resolutions):
            name = f"d{i}_phase_{side}"
            stored.append(case.io[name].swapaxes(1, 2))
            ours = np.asarray(critic.spectrogram(wave, resolution)).swapaxes(1, 2)
            # Only multiples of pi are random, and only there.
            random = (np.arange(ours.shape[2]) == 0) & (np.abs(np.sin(ours)) < 1e-3)
            phases[name] = Check(np.where(random, case.io[name], ours), wrapped=True)
        judgements.append(critic.apply({"params": params}, stored, method="judge"))
    return ap_bwe_tensors(*judgements, lambda x, i: spectral_map(x)) | phases


def build_hifigan_mpd(config: dict[str, Any]) -> MultiPeriodDiscriminator:
    width = config["discriminator_channel_mult"]
    channels = [int(c * width) for c in (32, 128, 512, 1024, 1024)]
    return MultiPeriodDiscriminator(config["mpd_reshapes"], channels)


def hifigan_mpd(case: Case) -> dict[str, Any]:
    critic = build_hifigan_mpd(case.small)
    params = load(case, critic)
    results: dict[str, Any] = {}
    scores, maps = [], []
    for side, name in (("real", "in.y"), ("fake", "in.y_hat")):
        judgements = critic.apply({"params": params}, case.given(name)[:, 0])
        scores.append([s for s, _ in judgements])
        maps.append([m for _, m in judgements])
        for i, (_, feature_maps) in enumerate(judgements):
            for j, feature_map in enumerate(feature_maps):
                results[f"{side}.fmap.{i}.{j}"] = period_map(feature_map, critic.periods[i])
            results[f"{side}.score.{i}"] = flat(results[f"{side}.fmap.{i}.{j}"])
    results["loss.disc"] = least_squares_discriminator(*scores)
    results["loss.gen"] = least_squares_generator(scores[1])
    results["loss.feature"] = 2 * feature_matching(*maps)
    return results


def full(build: Callable[[dict[str, Any]], nn.Module]) -> Callable[[dict[str, Any]], Any]:
    def network(config: dict[str, Any]) -> tuple[Any, Any]:
        critic = build(config)
        return critic.torch_rules, shapes(critic)

    return network


ADAPTERS = {
    "ap_bwe_mpd": ap_bwe_mpd,
    "ap_bwe_mrad": ap_bwe_mrad,
    "ap_bwe_mrpd": ap_bwe_mrpd,
    "hifigan_mpd": hifigan_mpd,
}
FULL_NETWORKS = {
    "ap_bwe_mpd": full(build_ap_bwe_mpd),
    "ap_bwe_mrad": full(build_spectral("amplitude")),
    "ap_bwe_mrpd": full(build_spectral("phase")),
    "hifigan_mpd": full(build_hifigan_mpd),
}
