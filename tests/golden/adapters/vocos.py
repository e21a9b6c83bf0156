"""Vocos and its relatives: backbones, heads, audio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.crossover import whole_clip_crossover, whole_clip_mask
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.decoders.convnext import (
    ConvNeXtBackbone,
    ConvNeXtSettings,
    WavTokenizerBackbone,
    WavTokenizerSettings,
)
from codecbwe_jax.decoders.imdct_head import ImdctHead, mdct_coefficients
from codecbwe_jax.decoders.istft_head import IstftHead, spectrum_of
from codecbwe_jax.decoders.resnet import ResNetBackbone, ResNetSettings
from codecbwe_jax.decoders.upsampler import SnakeUpsampler
from codecbwe_jax.interop.weights import Rule, from_torch, to_torch, under
from codecbwe_jax.losses.mel import MelSettings, log_mel
from tests.golden.case import Case, Check
from tests.golden.istft_generator import IstftGenerator
from tests.golden.networks import Values, load, run, shapes, swap

CLIP = 100.0


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


def build_vocos(c: Mapping[str, Any], wavtokenizer: bool = False) -> Vocos:
    b, h = c["backbone"], c["head"]
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


def loaded(case: Case, network: Vocos, inputs: tuple[int, ...], *condition: Any) -> Any:
    like = shapes(network, inputs) if not condition else conditioned_shapes(network, inputs)
    return load(network.torch_rules, own_weights(case), like)


def conditioned_shapes(network: nn.Module, inputs: tuple[int, ...]) -> Any:
    given = jnp.zeros(inputs), jnp.zeros(1, jnp.int32)
    return jax.eval_shape(lambda: network.init(jax.random.key(0), *given))["params"]


def outputs(case: Case, network: Vocos, inner: Values, audio: Any, prefix: str = "") -> Values:
    """What the cases name of one run."""
    linear = inner["head/linear"]
    spectrum = np.asarray(spectrum_of(linear, CLIP)).swapaxes(1, 2)
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
    for i in range(network.backbone.settings.layers):
        kind = "resnet" if "backbone/resnet_0" in inner else "convnext"
        results[f"backbone.{kind}.{i}"] = swap(inner[f"backbone/{kind}_{i}"])
    for i in range(6):
        if f"backbone/pos_net_{i}" in inner:
            results[f"backbone.pos_net.{i}"] = swap(inner[f"backbone/pos_net_{i}"])
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
    features = log_mel(case.given("in.audio"), settings)
    network = build_vocos(case.small)
    params = loaded(case, network, features.shape)
    # the network is given the original's features: logarithms near the floor differ by rounding
    audio, inner = run(network, params, swap(case.io["features.mel_log"]))
    heard = Check(
        swap(features), relative=1e-4, reason="logarithms of sums of hundreds of float32 products"
    )
    return outputs(case, network, inner, audio) | {"features.mel_log": heard}


def vocos_adanorm(case: Case) -> Values:
    network = build_vocos(case.small)
    features = swap(case.given("in.features"))
    params, results = None, {}
    for name in sorted(n for n in case.io if n.startswith("in.bandwidth_id_")):
        condition = case.given(name)
        params = params or loaded(case, network, features.shape, condition)
        audio, inner = run(network, params, features, condition)
        found = outputs(case, network, inner, audio, f"bw{int(condition[0])}.")
        results |= {k: v for k, v in found.items() if k in case.io}
    return results


def wavtokenizer_decoder(case: Case) -> Values:
    network = build_vocos(case.small, wavtokenizer=True)
    features, condition = swap(case.given("in.features")), case.given("in.bandwidth_id")
    params = loaded(case, network, features.shape, condition)
    audio, inner = run(network, params, features, condition)
    return outputs(case, network, inner, audio)


def vocos_imdct(form: str) -> Any:
    def adapter(case: Case) -> Values:
        c = case.small
        head = ImdctHead(c["mdct_frame_len"] // 2, form, CLIP, c["padding"])
        hidden = case.given("in.hidden")
        rules = (Rule("linear", "out", "dense"),)
        params = load(rules, own_weights(case), shapes(head, hidden.shape))
        audio, inner = run(head, params, hidden)
        return {
            "head.linear": inner["linear"],
            "head.mdct": mdct_coefficients(inner["linear"], form, CLIP),
            "audio": audio,
        }

    return adapter


def linacodec_decoder(case: Case) -> Values:
    """The parts by themselves: the whole of the original joins them over the clip's own FFT."""
    c = case.small
    weights = own_weights(case)
    mel = swap(case.given("in.mel"))
    b, u = c["backbone"], c["upsampler"]
    backbone = ConvNeXtBackbone(ConvNeXtSettings(b["dim"], b["intermediate_dim"], b["num_layers"]))
    upsampler = SnakeUpsampler(u["upsample_factors"], u["kernel_sizes"])

    def part(network: nn.Module, name: str, rules: Any, x: Any) -> tuple[Any, Values]:
        own = {
            k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")
        }
        return run(network, load_new_form(rules, own, shapes(network, x.shape)), x)

    def head(name: str, x: Any) -> np.ndarray:
        h = c[name]
        network = IstftHead(h["hop_length"], CLIP, h["n_fft"], padding=h["padding"])
        return np.asarray(part(network, name, (Rule("linear", "out", "dense"),), x)[0])

    hidden, _ = part(backbone, "backbone", ConvNeXtBackbone.torch_rules, mel)
    finer, inner = part(upsampler, "upsampler", SnakeUpsampler.torch_rules, hidden)
    old, new = head("head", hidden), head("head_48k", finer)
    low = np.asarray(resample(old, 24000, 48000, "torchaudio"))
    results = {
        "backbone.out": swap(hidden),
        "upsampler.out_proj": inner["out_proj"],
        "upsampler.out": swap(finer),
        "audio_24k_head": old,
        "audio_24k_resampled": low,
        "audio_48k_head": new,
        "crossover_mask": whole_clip_mask(low.shape[-1], 48000, c["crossover_hz"])[None],
        "audio": whole_clip_crossover(low, new[:, : low.shape[-1]], 48000, c["crossover_hz"]),
    }
    for i in range(len(u["upsample_factors"])):
        results[f"upsampler.up.{i}"] = swap(inner[f"up_{i}"])
        results[f"upsampler.resnet.{i}"] = swap(inner[f"resnet_{i}"])
    return results


def load_new_form(rules: Any, weights: dict[str, np.ndarray], like: Any) -> Any:
    """Parameters from weights whose weight norm is a parametrization; ours go back in the old
    spelling."""
    params = from_torch(rules, weights, like)
    assert len(to_torch(rules, params)) == len(weights)
    return params


def linacodec_crossover(case: Case) -> Values:
    low, high = case.given("low"), case.given("high")
    return {
        f"out_{rate}_{cutoff}_{bins}": Check(
            whole_clip_crossover(low, high, rate, cutoff, bins), figure="out"
        )
        for rate, cutoff, bins in case.small["settings"]
    }


def build_generator(synthesis: str, c: Mapping[str, Any]) -> IstftGenerator:
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
        weights = {k: v for k, v in case.weights.items() if k != "updown_filter"}
        params = load(network.torch_rules, weights, shapes(network, z.shape))
        audio, state = network.apply(
            {"params": params}, z, capture_intermediates=True, mutable="intermediates"
        )
        inner = state["intermediates"]
        last = "conv_post" if synthesis == "whole" else "subband_conv_post"
        outputs = inner[last]["__call__"][0]
        results = {
            "audio": np.asarray(audio)[:, None],
            "conv_pre": swap(inner["conv_pre"]["__call__"][0]),
            last: swap(outputs),
        }
        for i in range(len(network.rates)):
            results[f"ups.{i}"] = swap(inner[f"ups_{i}"]["__call__"][0])
            results[f"stage.{i}"] = swap(inner[f"stage_{i}"][0])
        if synthesis != "whole":
            bands = case.small["subbands"]
            waves = swap(network.bands(outputs.reshape(*outputs.shape[:2], bands, -1)))
            if synthesis == "trained":  # there they stand with zeros between their samples
                spread = np.zeros((*waves.shape, bands), np.float32)
                spread[..., 0] = bands * waves
                waves = spread.reshape(*waves.shape[:2], -1)
            results["subband_signals"] = waves
        return results

    return adapter


def full_generator(synthesis: str) -> Any:
    def network(c: Mapping[str, Any]) -> tuple[Any, Any]:
        generator = build_generator(synthesis, c)
        return generator.torch_rules, shapes(generator, (1, 4, c["initial_channel"]))

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
}
