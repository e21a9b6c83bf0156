"""Critics of the native decoders' recipes: every feature map, every score, the losses of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from tests.golden.adapters.discriminators import (
    Judgements,
    flat,
    full,
    judged_by,
    losses,
    maps_of,
    period_map,
    periods,
    scores_of,
    shapes,
    spectral_map,
    waves_of,
)
from tests.golden.case import Case
from tests.golden.networks import Names, Values, load, names, part, swap, tuples

# windows of transforms and filters of banks
CONSTANTS = re.compile(r".*window|f?_?pqmf\..*")


def judgements(case: Case, critic: nn.Module, **condition: Any) -> dict[str, Judgements]:
    """The critic with the case's weights, on both waveforms."""
    waves = waves_of(case)
    weights = {k: v for k, v in case.weights.items() if not CONSTANTS.fullmatch(k)}
    like = shapes(critic, waves["real"].shape[1], **condition)["params"]
    return judged_by(critic, load(critic.torch_rules, weights, like), waves, **condition)


def image(x: Any, _: int = 0) -> np.ndarray:
    """`[B, H, W, C]` -> `[B, C, H, W]`."""
    return np.asarray(x).transpose(0, 3, 1, 2)


def build_dac(c: Mapping[str, Any]) -> DacDiscriminator:
    return DacDiscriminator(
        c["periods"],
        c["fft_sizes"],
        c["mpd_channels"],
        c["mrd_channels"],
        rates=c["rates"],
        sample_rate=c["sample_rate"],
        rate_channels=c["msd_channels"],
        rate_groups=c["msd_groups"],
        bands=tuples(c["bands"]),
    )


def dac_disc(case: Case) -> Values:
    critic = build_dac(case.small)
    judged = judgements(case, critic)

    def layout(x: Any, i: int) -> np.ndarray:
        if i < len(critic.periods):
            return period_map(x, critic.periods[i])
        return image(x) if x.ndim == 4 else swap(x)

    # the original keeps the scores behind the maps
    whole = {
        side: [(score, [*maps, score[..., None]]) for score, maps in parts]
        for side, parts in judged.items()
    }
    judge, fool, matching = losses(judged, "least_squares")
    return maps_of(whole, layout) | {
        "preprocessed": jax.jit(normalised)(case.given("in.y")),
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
    layout = periods(critic)
    return maps_of(judged, layout) | scores_of(judged, layout) | vocos_losses(judged)


def vocos_mrd(case: Case) -> Values:
    judged = judgements(case, build_vocos_mrd(case.small), **condition_of(case))
    results = maps_of(judged, image)
    for side, parts in judged.items():
        results |= {f"{side}.score.{i}": image(maps[-1]) for i, (_, maps) in enumerate(parts)}
    return results | vocos_losses(judged)


def build_encodec(c: Mapping[str, Any]) -> MultiScaleStftDiscriminator:
    return MultiScaleStftDiscriminator(c["n_ffts"], c["filters"])


def encodec_msstftd(case: Case) -> Values:
    c = case.small
    c.only("in_channels", 1)
    c.only("out_channels", 1)
    c.only("win_lengths", c["n_ffts"])
    c.only("hop_lengths", [n // 4 for n in c["n_ffts"]])
    judged = judgements(case, build_encodec(c))
    results = maps_of(judged, image)
    for side, parts in judged.items():
        results |= {
            f"{side}.logits.{i}": image(np.asarray(s)[..., None]) for i, (s, _) in enumerate(parts)
        }
    for i, window in enumerate(c["n_ffts"]):
        spectrogram = jax.jit(ComplexSpectrumDiscriminator(window, 1, parent=None).spectrogram)
        z = swap(spectrogram(waves_of(case)["real"]))
        results[f"spec.{i}"] = np.stack([z.real, z.imag], axis=-1)[:, None]
    judge, fool, matching = losses(judged, "hinge", "mean", relative=True)
    return results | {
        "loss.disc_hinge": judge,
        "loss.gen_hinge": fool,
        "loss.feature_relative": matching,
    }


def build_univnet(c: Mapping[str, Any]) -> MultiResolutionMagnitudeDiscriminator:
    width = int(32 * c["discriminator_channel_mult"])
    return MultiResolutionMagnitudeDiscriminator(c["resolutions"], width)


def univnet_mrd(case: Case) -> Values:
    case.small.only("use_spectral_norm", False)
    judged = judgements(case, build_univnet(case.small))
    results = maps_of(judged, spectral_map) | scores_of(judged, spectral_map)
    return results | hifigan_losses(judged)


def hifigan_losses(judged: Mapping[str, Judgements], name: str = "loss.{}") -> Values:
    judge, fool, matching = losses(judged, "least_squares")
    # HiFi-GAN's factor of two
    values = {"disc": judge, "gen": fool, "feature": 2 * np.asarray(matching)}
    return {name.format(k): v for k, v in values.items()}


def build_avocodo(c: Mapping[str, Any]) -> SubbandDiscriminator:
    return SubbandDiscriminator(
        tuples(c["sbd_band_ranges"]),
        tuples(c["sbd_transpose"]),
        *(tuples(c[f"sbd_{name}"]) for name in ("filters", "strides", "kernel_sizes", "dilations")),
        tuples(c["pqmf_config"]["sbd"]),
        tuples(c["pqmf_config"]["fsbd"]),
    )


def avocodo_sbd(case: Case) -> Values:
    wave = waves_of(case)["real"]
    case.small.follows("segment_size", wave.shape[1])
    critic = build_avocodo(case.small)
    judged = judgements(case, critic)
    results = maps_of(judged, lambda x, i: swap(x))
    for side, parts in judged.items():
        for i, (score, _) in enumerate(parts):
            results[f"{side}.score.{i}"] = np.asarray(score)[:, None]
    return results | {
        "pqmf.analysis": swap(jax.jit(Pqmf(*critic.bank).analysis)(wave)),
        "f_pqmf.analysis": swap(jax.jit(Pqmf(*critic.fine_bank).analysis)(wave)),
        **hifigan_losses(judged),
    }


def hifigan_mpd_msd(case: Case) -> Values:
    c = case.small
    mpd = MultiPeriodDiscriminator(channels=c["mpd_channels"])
    msd = MultiScaleDiscriminator(c["msd_channels"], c["msd_groups"])
    waves = waves_of(case, "y_real", "y_gen")
    side_names = {"real": "real", "fake": "gen"}
    results: Values = {}
    for name, critic in (("mpd", mpd), ("msd", msd)):
        variables = hifigan_variables(case, name, critic)
        judge = jax.jit(critic.apply)
        judged = {side: judge(variables, wave) for side, wave in waves.items()}
        named = {side_names[side]: parts for side, parts in judged.items()}
        layout = periods(critic) if name == "mpd" else lambda x, i: swap(x)
        results |= maps_of(named, layout, f"{name}{{i}}_fmap{{j}}_{{side}}")
        results |= scores_of(named, layout, f"{name}{{i}}_out_{{side}}")
        results |= hifigan_losses(judged, f"loss_{name}_{{}}")
    # one power iteration, as in training
    train = jax.jit(lambda v, x: critic.apply(v, x, mutable="norms"))
    trained, moved = train(variables, waves["real"])
    results["train_msd0_out_real"] = flat(np.asarray(trained[0][0]))
    for j in range(len(msd.channels)):
        norms = moved["norms"]["scales_0"][f"convs_{j}"]
        results |= {f"train_msd0_convs{j}_{x}_after": norms[x] for x in "uv"}
    pool = jax.jit(halved)
    once = pool(waves["real"])
    results |= {"pooled_real_1": once[:, None], "pooled_real_2": pool(once)[:, None]}
    return {k: v for k, v in results.items() if not k.startswith("train_") or k in case.io}


def hifigan_variables(case: Case, name: str, critic: nn.Module) -> dict[str, Any]:
    """Parameters and, of the spectral norms, the two vectors."""
    weights = part(case.weights, f"{name}.")
    vectors = re.compile(r"discriminators\.0\..*weight_[uv]" if name == "msd" else r"(?!)")
    like = shapes(critic)
    own = {k: v for k, v in weights.items() if not vectors.fullmatch(k)}
    variables = {"params": load(critic.torch_rules, own, like["params"])}
    if name == "msd":
        rest = {k: v for k, v in weights.items() if k not in own}
        variables["norms"] = load(critic.state_rules, rest, like["norms"])
    return variables


def full_hifigan(c: Mapping[str, Any]) -> Names:
    mpd = MultiPeriodDiscriminator(c["mpd"]["periods"], c["mpd"]["channels"])
    msd = MultiScaleDiscriminator(c["msd"]["channels"], c["msd"]["groups"])
    like = shapes(msd)
    return (
        names(mpd.torch_rules, shapes(mpd)["params"], "mpd/")
        | names(msd.torch_rules, like["params"], "msd/")
        | names(msd.state_rules, like["norms"], "msd/")
    )


CONDITION = np.zeros(1, np.int32)

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
    "avocodo_sbd": full(build_avocodo),
    "dac_disc": full(build_dac),
    "dac_msd": full(build_dac),
    "encodec_msstftd": full(build_encodec),
    "hifigan_mpd_msd": full_hifigan,
    "univnet_mrd": full(build_univnet),
    "vocos_mpd": full(build_vocos_mpd),
    "vocos_mpd_cond": full(build_vocos_mpd, condition=CONDITION),
    "vocos_mrd": full(build_vocos_mrd),
    "vocos_mrd_cond": full(build_vocos_mrd, condition=CONDITION),
}
