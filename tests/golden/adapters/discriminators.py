"""Critics: every feature map, every score, the losses made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from codecbwe_jax.discriminators.mpd import MultiPeriodDiscriminator
from codecbwe_jax.discriminators.spectral import MultiResolutionDiscriminator
from codecbwe_jax.losses.adversarial import (
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from tests.golden.case import Case, Check
from tests.golden.networks import Names, Values, load, names, swap

# of each side, (score, maps) of every part
Judgements = list[tuple[jax.Array, list[jax.Array]]]
Judged = Mapping[str, Judgements]
Layout = Callable[[Any, int], np.ndarray]
FORMS = {
    "hinge": (hinge_discriminator, hinge_generator),
    "least_squares": (least_squares_discriminator, least_squares_generator),
}


def shapes(critic: nn.Module, samples: int = 8192, **condition: Any) -> Any:
    wave = np.zeros((1, samples), np.float32)
    return jax.eval_shape(lambda: critic.init(jax.random.key(0), wave, **condition))


def period_map(x: Any, period: int) -> np.ndarray:
    """`[B * period, T, C]` -> `[B, C, T, period]`."""
    x = np.asarray(x)
    return x.reshape(-1, period, *x.shape[1:]).transpose(0, 3, 2, 1)


def spectral_map(x: Any, _: int = 0) -> np.ndarray:
    """`[B, frames, bins, C]` -> `[B, C, bins, frames]`."""
    return np.asarray(x).transpose(0, 3, 2, 1)


def periods(critic: MultiPeriodDiscriminator) -> Layout:
    return lambda x, i: period_map(x, critic.periods[i])


def flat(score_map: np.ndarray) -> np.ndarray:
    return score_map.reshape(score_map.shape[0], -1)


def waves_of(case: Case, real: str = "in.y", fake: str = "in.y_hat") -> dict[str, np.ndarray]:
    """The two waveforms, `[B, N]`."""
    found = {"real": case.given(real), "fake": case.given(fake)}
    return {side: wave.reshape(wave.shape[0], -1) for side, wave in found.items()}


def judged_by(
    critic: nn.Module, params: Any, waves: Mapping[str, Any], **condition: Any
) -> dict[str, Judgements]:
    judge = jax.jit(lambda x: critic.apply({"params": params}, x, **condition))
    return {side: judge(wave) for side, wave in waves.items()}


def losses(judged: Judged, form: str, rule: str = "sum", relative: bool = False) -> list[Any]:
    """Discriminator's, generator's, feature matching."""
    judge, fool = FORMS[form]

    def compute(judged: Judged) -> list[Any]:
        scores = [[score for score, _ in judged[side]] for side in ("real", "fake")]
        maps = [[m for _, m in judged[side]] for side in ("real", "fake")]
        matching = feature_matching(*maps, rule, relative)
        return [judge(*scores, rule), fool(scores[1], rule), matching]

    return jax.jit(compute)(dict(judged))


def maps_of(judged: Judged, layout: Layout, name: str = "{side}.fmap.{i}.{j}") -> Values:
    return {
        name.format(side=side, i=i, j=j): layout(feature_map, i)
        for side, parts in judged.items()
        for i, (_, maps) in enumerate(parts)
        for j, feature_map in enumerate(maps)
    }


def scores_of(judged: Judged, layout: Layout, name: str = "{side}.score.{i}") -> Values:
    """Scores as rows, of critics whose last map the score is."""
    return {
        name.format(side=side, i=i): flat(layout(maps[-1], i))
        for side, parts in judged.items()
        for i, (_, maps) in enumerate(parts)
    }


def ap_bwe_tensors(judged: Judged, layout: Layout) -> Values:
    named = {"real": judged["real"], "gen": judged["fake"]}
    judge, fool, matching = losses(judged, "hinge")
    return {
        **maps_of(named, layout, "d{i}_fmap{j}_{side}"),
        **scores_of(named, layout, "d{i}_out_{side}"),
        "loss_disc_hinge": judge,
        "loss_gen_hinge": fool,
        "loss_feature": matching,
    }


def build_ap_bwe_mpd(config: Mapping[str, Any]) -> MultiPeriodDiscriminator:
    return MultiPeriodDiscriminator(config["periods"], config["channels"], skip_first_map=True)


def ap_bwe_mpd(case: Case) -> Values:
    case.small.only("kernel", 5)
    case.small.only("stride", 3)
    critic = build_ap_bwe_mpd(case.small)
    params = load(critic.torch_rules, case.weights, shapes(critic)["params"])
    judged = judged_by(critic, params, waves_of(case, "y_real", "y_gen"))
    return ap_bwe_tensors(judged, periods(critic))


def build_spectral(sees: str) -> Callable[[Mapping[str, Any]], MultiResolutionDiscriminator]:
    return lambda config: MultiResolutionDiscriminator(
        sees, config["resolutions"], config["channels"]
    )


def ap_bwe_mrad(case: Case) -> Values:
    critic = build_spectral("amplitude")(case.small)
    params = load(critic.torch_rules, case.weights, shapes(critic)["params"])
    waves = waves_of(case, "y_real", "y_gen")
    return ap_bwe_tensors(judged_by(critic, params, waves), spectral_map) | {
        f"d{i}_amp_{side}": swap(spectrogram)
        for side, wave in zip(("real", "gen"), waves.values(), strict=True)
        for i, spectrogram in enumerate(spectrograms(critic, wave))
    }


def spectrograms(critic: MultiResolutionDiscriminator, wave: np.ndarray) -> list[jax.Array]:
    return jax.jit(lambda x: [critic.spectrogram(x, r) for r in critic.resolutions])(wave)


def ap_bwe_mrpd(case: Case) -> Values:
    """The convolutions are fed with the stored phases: those of frame 0 are 0 or pi at random."""
    critic = build_spectral("phase")(case.small)
    params = load(critic.torch_rules, case.weights, shapes(critic)["params"])
    judge = jax.jit(lambda *x: critic.apply({"params": params}, x, method="judge"))
    judged, phases = {}, {}
    for side, wave in waves_of(case, "y_real", "y_gen").items():
        stored = []
        for i, ours in enumerate(map(swap, spectrograms(critic, wave))):
            name = f"d{i}_phase_{'real' if side == 'real' else 'gen'}"
            stored.append(swap(case.io[name]))
            phases[name] = Check(ours, samples=(1, ours.shape[-1]), wrapped=True)
        judged[side] = judge(*stored)
    return ap_bwe_tensors(judged, spectral_map) | phases


def build_hifigan_mpd(config: Mapping[str, Any]) -> MultiPeriodDiscriminator:
    width = config["discriminator_channel_mult"]
    channels = [int(c * width) for c in (32, 128, 512, 1024, 1024)]
    return MultiPeriodDiscriminator(config["mpd_reshapes"], channels)


def hifigan_mpd(case: Case) -> Values:
    case.small.only("use_spectral_norm", False)
    critic = build_hifigan_mpd(case.small)
    params = load(critic.torch_rules, case.weights, shapes(critic)["params"])
    judged = judged_by(critic, params, waves_of(case))
    layout = periods(critic)
    judge, fool, matching = losses(judged, "least_squares")
    return {
        **maps_of(judged, layout),
        **scores_of(judged, layout),
        "loss.disc": judge,
        "loss.gen": fool,
        "loss.feature": 2 * np.asarray(matching),  # HiFi-GAN's factor of two
    }


def full(
    build: Callable[[Mapping[str, Any]], nn.Module], **condition: Any
) -> Callable[[Mapping[str, Any]], Names]:
    """Official names of a critic."""

    def network(config: Mapping[str, Any]) -> Names:
        critic = build(config)
        samples = config.get("segment_size", 8192)
        return names(critic.torch_rules, shapes(critic, samples, **condition)["params"])

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
