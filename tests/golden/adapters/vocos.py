"""Vocos and its relatives: backbones, heads, audio."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.crossover import whole_clip_crossover, whole_clip_mask
from codecbwe_jax.audio.mel import MelSettings, log_mel
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.decoders.convnext import (
    ConvNeXtBackbone,
    ConvNeXtSettings,
    WavTokenizerBackbone,
    WavTokenizerSettings,
)
from codecbwe_jax.decoders.dual_path_head import DualPathHead
from codecbwe_jax.decoders.istft_head import IstftHead, spectrum_of
from codecbwe_jax.decoders.resnet import ResNetBackbone, ResNetSettings
from codecbwe_jax.decoders.upsampler import SnakeUpsampler
from codecbwe_jax.weights.rules import Rule, under
from tests.golden.case import Case, Check
from tests.golden.imdct_head import ImdctHead, mdct_coefficients
from tests.golden.istft_generator import IstftGenerator
from tests.golden.networks import Names, Values, load, names, run, shapes, swap
from tests.golden.settings import Settings

CLIP = 100.0  # of magnitudes, in all of them


class Vocos(nn.Module):
    """Features `[B, T, C]` -> waveform, under the names of Vocos' checkpoints."""

    backbone: nn.Module
    head: nn.Module

    @property
    def torch_rules(self) -> tuple[Rule, ...]:
        return (
            *under("backbone", "backbone", self.backbone.torch_rules),
            Rule("head/linear", "head.out", "dense"),
        )

    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        return self.head(self.backbone(x, None, None, condition))


def build_vocos(c: Settings, wavtokenizer: bool = False) -> Vocos:
    b, h = c["backbone"], c["head"]
    h.follows("dim", b["dim"])
    head = IstftHead(h["hop_length"], CLIP, h["n_fft"], padding=h["padding"])
    if "num_blocks" in b:
        return Vocos(ResNetBackbone(ResNetSettings(b["dim"], b["num_blocks"])), head)
    sizes = b["dim"], b["intermediate_dim"], b["num_layers"]
    conditions = b.get("adanorm_num_embeddings") or 0
    if wavtokenizer:
        backbone = WavTokenizerBackbone(WavTokenizerSettings(*sizes), conditions=conditions)
    else:
        backbone = ConvNeXtBackbone(ConvNeXtSettings(*sizes), conditions=conditions)
    return Vocos(backbone, head)


def own_weights(case: Case) -> dict[str, np.ndarray]:
    """Weights without constants of transforms."""
    return {
        k: v
        for k, v in case.weights.items()
        if not k.endswith((".window", "twiddle")) and not k.startswith("feature_extractor")
    }


def vocos_shapes(network: Vocos, channels: int) -> Any:
    """Of the parameters; a norm with conditions needs one."""
    given = [jax.ShapeDtypeStruct((1, 8, channels), jnp.float32)]
    if getattr(network.backbone, "conditions", 0):
        given.append(jax.ShapeDtypeStruct((1,), jnp.int32))
    return jax.eval_shape(network.init, jax.random.key(0), *given)["params"]


def loaded(case: Case, network: Vocos, features: np.ndarray) -> Any:
    case.small["backbone"].follows("input_channels", features.shape[2])
    like = vocos_shapes(network, features.shape[2])
    return load(network.torch_rules, own_weights(case), like)


def outputs(network: Vocos, inner: Values, audio: Any, prefix: str = "") -> Values:
    """What the cases name of one run."""
    linear = inner["head/linear"]
    spectrum = np.asarray(jax.jit(lambda x: spectrum_of(x, CLIP))(linear)).swapaxes(1, 2)
    results = {
        "backbone.embed": swap(inner["backbone/embed"]),
        "head.linear": linear,
        "head.spec": np.stack([spectrum.real, spectrum.imag], axis=-1),
        "audio": audio,
    }
    if isinstance(network.backbone, ResNetBackbone):
        results["backbone.out"] = inner["backbone"]
    else:
        results["backbone.norm"] = inner["backbone/norm"]
        results["backbone.out"] = inner["backbone/final_layer_norm"]
    for key in inner:
        if found := re.fullmatch(r"backbone/(resnet|convnext|pos_net)_(\d+)", key):
            results[f"backbone.{found[1]}.{found[2]}"] = swap(inner[key])
    return {f"{prefix}{k}": v for k, v in results.items()}


def vocos_mel(case: Case) -> Values:
    c = case.small["feature_extractor"]
    settings = MelSettings(
        c["sample_rate"],
        c["n_fft"],
        c["hop_length"],
        c["n_mels"],
        scale="htk",
        padding=c["padding"],
        floor=1e-7,
    )
    features = jax.jit(lambda x: log_mel(x, settings))(case.given("in.audio"))
    network = build_vocos(case.small)
    params = loaded(case, network, features)
    # the network is given the original's features: logarithms near the floor differ by rounding
    audio, inner = run(network, params, swap(case.io["features.mel_log"]))
    heard = Check(
        swap(features), relative=1e-4, reason="logarithms of sums of hundreds of float32 products"
    )
    return outputs(network, inner, audio) | {"features.mel_log": heard}


def vocos_adanorm(case: Case) -> Values:
    network = build_vocos(case.small)
    features = swap(case.given("in.features"))
    params, results = loaded(case, network, features), {}
    for name in sorted(n for n in case.io if n.startswith("in.bandwidth_id_")):
        condition = case.given(name)
        audio, inner = run(network, params, features, condition)
        found = outputs(network, inner, audio, f"bw{int(condition[0])}.")
        results |= {k: v for k, v in found.items() if k in case.io}
    return results


def wavtokenizer_decoder(case: Case) -> Values:
    network = build_vocos(case.small, wavtokenizer=True)
    features = swap(case.given("in.features"))
    given = [case.given(n) for n in ("in.bandwidth_id",) if n in case.io]
    params = loaded(case, network, features)
    audio, inner = run(network, params, features, *given)
    return outputs(network, inner, audio)


IMDCT_RULES = (Rule("linear", "out", "dense"),)


def vocos_imdct(form: str) -> Any:
    def adapter(case: Case) -> Values:
        c = case.small
        head = ImdctHead(c["mdct_frame_len"] // 2, form, CLIP, c["padding"])
        hidden = case.given("in.hidden")
        c.follows("dim", hidden.shape[2])
        params = load(IMDCT_RULES, own_weights(case), shapes(head, hidden.shape))
        audio, inner = run(head, params, hidden)
        coefficients = jax.jit(lambda x: mdct_coefficients(x, form, CLIP))(inner["linear"])
        return {"head.linear": inner["linear"], "head.mdct": coefficients, "audio": audio}

    return adapter


class LinaCodec(nn.Module):
    """Mel frames `[B, T, C]` -> waveform at 48 kHz, under the names of LinaCodec's checkpoints."""

    backbone: ConvNeXtBackbone
    head: DualPathHead

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *under("backbone", "backbone", ConvNeXtBackbone.torch_rules),
        *under("head/upsampler", "upsampler", SnakeUpsampler.torch_rules),
        Rule("head/low/linear", "head.out", "dense"),
        Rule("head/high/linear", "head_48k.out", "dense"),
    )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.backbone(x))


def build_linacodec(c: Settings) -> LinaCodec:
    b, u = c["backbone"], c["upsampler"]
    u.follows("in_channels", b["dim"])

    def head(h: Settings) -> IstftHead:
        h.follows("dim", b["dim"])
        return IstftHead(h["hop_length"], CLIP, h["n_fft"], padding=h["padding"])

    sizes = ConvNeXtSettings(b["dim"], b["intermediate_dim"], b["num_layers"])
    joined = DualPathHead(
        head(c["head"]),
        SnakeUpsampler(u["upsample_factors"], u["kernel_sizes"]),
        head(c["head_48k"]),
        48000,
        c["crossover_hz"],
        whole_clip_crossover,
    )
    return LinaCodec(ConvNeXtBackbone(sizes), joined)


def linacodec_decoder(case: Case) -> Values:
    network = build_linacodec(case.small)
    mel = swap(case.given("in.mel"))
    case.small["backbone"].follows("input_channels", mel.shape[2])
    params = load(network.torch_rules, own_weights(case), shapes(network, mel.shape))
    audio, inner = run(network, params, mel)
    head, samples = network.head, audio.shape[1]
    low, rate = np.asarray(inner["head/low"]), head.output_rate
    results = {
        "backbone.out": swap(inner["backbone"]),
        "upsampler.out_proj": inner["head/upsampler/out_proj"],
        "upsampler.out": swap(inner["head/upsampler"]),
        "audio_24k_head": low,
        "audio_24k_resampled": jax.jit(lambda x: resample(x, rate // 2, rate, "torchaudio"))(low),
        "audio_48k_head": inner["head/high"],
        "crossover_mask": whole_clip_mask(samples, rate, head.crossover_hz)[None],
        "audio": audio,
    }
    for key in inner:
        if found := re.fullmatch(r"head/upsampler/(up|resnet)_(\d+)", key):
            results[f"upsampler.{found[1]}.{found[2]}"] = swap(inner[key])
    return results


def linacodec_crossover(case: Case) -> Values:
    low, high = case.given("low"), case.given("high")
    case.small.follows("N", low.shape[1])
    return {
        f"out_{rate}_{cutoff}_{bins}": Check(
            jax.jit(lambda *x, s=(rate, cutoff, bins): whole_clip_crossover(*x, *s))(low, high),
            figure="out",
        )
        for rate, cutoff, bins in case.small["settings"]
    }


def build_generator(synthesis: str, c: Settings) -> IstftGenerator:
    c.only("resblock", "1")
    c.only("subbands", 1 if synthesis == "whole" else 4)
    return IstftGenerator(
        c["upsample_initial_channel"],
        c["upsample_rates"],
        c["upsample_kernel_sizes"],
        c["resblock_kernel_sizes"],
        c["resblock_dilation_sizes"],
        c["gen_istft_n_fft"],
        c["gen_istft_hop_size"],
        synthesis,
    )


def istft_generator(synthesis: str) -> Any:
    def adapter(case: Case) -> Values:
        network = build_generator(synthesis, case.small)
        z = swap(case.given("in.z"))
        case.small.follows("initial_channel", z.shape[2])
        weights = {k: v for k, v in case.weights.items() if k != "updown_filter"}
        params = load(network.torch_rules, weights, shapes(network, z.shape))
        audio, inner = run(network, params, z)
        last = "conv_post" if synthesis == "whole" else "subband_conv_post"
        results = {
            "audio": np.asarray(audio)[:, None],
            "conv_pre": swap(inner["conv_pre"]),
            last: swap(inner[last]),
        }
        for key in inner:
            if found := re.fullmatch(r"(ups|stage)_(\d+)", key):
                results[f"{found[1]}.{found[2]}"] = swap(inner[key])
        if synthesis != "whole":
            results["subband_signals"] = band_signals(network, inner[last])
        return results

    return adapter


def band_signals(network: IstftGenerator, outputs: Any) -> np.ndarray:
    """Waveforms of the bands from the last layer's outputs `[B, T, 4 * (n_fft + 2)]`."""
    batch, frames, channels = outputs.shape
    bands = channels // (network.n_fft + 2)
    split = np.reshape(outputs, (batch, frames, bands, -1))
    waves = swap(jax.jit(network.bands)(split))
    if network.synthesis == "trained":  # there they stand with zeros between their samples
        spread = np.zeros((*waves.shape, bands), np.float32)
        spread[..., 0] = bands * waves
        waves = spread.reshape(*waves.shape[:2], -1)
    return waves


def full_vocos(c: Settings, wavtokenizer: bool = False) -> Names:
    network = build_vocos(c, wavtokenizer)
    return names(network.torch_rules, vocos_shapes(network, c["backbone"]["input_channels"]))


def full_imdct(form: str) -> Callable[[Settings], Names]:
    def network(c: Settings) -> Names:
        head = ImdctHead(c["mdct_frame_len"] // 2, form, CLIP, c["padding"])
        return names(IMDCT_RULES, shapes(head, (1, 4, c["dim"])))

    return network


def full_linacodec(c: Settings) -> Names:
    """Weight norms there are parametrizations."""
    network = build_linacodec(c)
    ours = names(network.torch_rules, shapes(network, (1, 4, c["backbone"]["input_channels"])))
    spelled = {"weight_g": "original0", "weight_v": "original1"}
    for old, new in spelled.items():
        ours = {k.replace(old, f"parametrizations.weight.{new}"): v for k, v in ours.items()}
    return ours


def full_generator(synthesis: str) -> Callable[[Settings], Names]:
    def network(c: Settings) -> Names:
        generator = build_generator(synthesis, c)
        return names(generator.torch_rules, shapes(generator, (1, 4, c["initial_channel"])))

    return network


ADAPTERS = {
    "istft_generator": istft_generator("whole"),
    "mb_istft": istft_generator("pqmf"),
    "ms_istft": istft_generator("trained"),
    "linacodec_crossover": linacodec_crossover,
    "linacodec_decoder": linacodec_decoder,
    "vocos_mel": vocos_mel,
    "vocos_resnet": vocos_mel,
    "vocos_adanorm": vocos_adanorm,
    "vocos_imdct_cos": vocos_imdct("cos"),
    "vocos_imdct_symexp": vocos_imdct("symexp"),
    "wavtokenizer_decoder": wavtokenizer_decoder,
}
FULL_NETWORKS = {
    "istft_generator": full_generator("whole"),
    "mb_istft": full_generator("pqmf"),
    "ms_istft": full_generator("trained"),
    "linacodec_decoder": full_linacodec,
    "vocos_mel": full_vocos,
    "vocos_resnet": full_vocos,
    "vocos_adanorm": full_vocos,
    "vocos_imdct_cos": full_imdct("cos"),
    "vocos_imdct_symexp": full_imdct("symexp"),
    "wavtokenizer_decoder": functools.partial(full_vocos, wavtokenizer=True),
}
