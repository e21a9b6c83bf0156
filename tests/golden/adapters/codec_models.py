"""Whole codecs in three namings of their weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from codecbwe_jax.codec import names as namings
from codecbwe_jax.codec.network import CodecNetwork, acoustic_decoder
from codecbwe_jax.codec.settings import INPUT_RATE, CodecSettings
from codecbwe_jax.codec.w2v_bert import SemanticSettings
from codecbwe_jax.decoders.istft_head import polar_parts
from codecbwe_jax.decoders.transformer import TransformerSettings
from codecbwe_jax.nn import fsq
from codecbwe_jax.weights.rules import from_torch, torch_layout
from tests.golden.adapters.codec_parts import backbone_settings, semantic_settings
from tests.golden.case import Case
from tests.golden.networks import Names, Values, load, names, run, shapes, swap
from tests.golden.settings import NotSupportedError, Settings


def codec_settings(c: Settings, family: str) -> CodecSettings:
    input_key, output_key, output_rate = {
        "xcodec2": ("sampling_rate", "sampling_rate", INPUT_RATE),
        "neucodec": ("input_sampling_rate", "output_sampling_rate", 24000),
    }[family]
    c.only(input_key, INPUT_RATE)
    settings = CodecSettings(
        family=family,
        output_rate=c.get(output_key, output_rate),
        semantic=semantic_settings(c["semantic_model_config"]),
        backbone=backbone_settings(c),
        encoder_width=c["encoder_hidden_size"],
        ratios=tuple(c["downsampling_ratios"]),
        levels=tuple(c["quantization_levels"]),
    )
    c.follows("quantization_dim", settings.semantic.size + settings.backbone.size)
    c.follows("n_fft", 4 * settings.output_hop_length)
    for hop_length in ("hop_length", "head_hop_length"):
        c.follows(hop_length, settings.output_hop_length)
    return settings


def codec_shapes(settings: CodecSettings) -> Any:
    network = CodecNetwork(settings)
    samples = 4 * settings.hop_length
    features = (1, 4, settings.semantic.features)
    return shapes(network, (1, samples), features, method=everything)


def everything(network: CodecNetwork, waveform: jax.Array, features: jax.Array) -> Any:
    """Run every part once."""
    latents, tokens = network.quantise(waveform, None, features)
    return network.acoustic_decoder(latents), tokens


def transformers_model(family: str) -> Callable[[Case], Values]:
    def adapter(case: Case) -> Values:
        settings = codec_settings(case.small, family)
        network = CodecNetwork(settings)
        params = load(CodecNetwork.torch_rules, case.weights, codec_shapes(settings))
        wave, features = case.given("input_values")[:, 0], case.given("input_features")
        mask = case.given("input_features_mask").astype(bool)
        case.given("padding_mask")  # only the reference's own masks follow from it
        (latents, tokens), inner = run(
            network, params, wave, None, features, mask, method=CodecNetwork.quantise
        )
        case.leave_out("audio_codes_mask", "the reference's miscount of tokens; ours are lengths")
        decoder_mask = None
        if family == "neucodec":
            decoder_mask = case.given("audio_codes_mask").astype(bool)
        audio, decoded = run(
            acoustic_decoder(settings), params["acoustic_decoder"], latents, None, decoder_mask
        )
        z = inner["quantizer/project_in"]
        semantic, acoustic = inner["semantic_adapter"], inner["acoustic_encoder"]
        # an odd hop makes one sample more, which the original cuts off
        samples = wave.shape[1] * settings.output_rate // INPUT_RATE
        results = {
            "audio_codes": tokens[:, None],
            "latents": swap(latents),
            "audio_values": np.asarray(audio)[:, None, :samples],
            "fc_encoder_in_concat": inner["fc_encoder/in"],
            "fc_encoder_out": inner["fc_encoder"],
            "quantizer_project_in_out": z,
            "quantizer_project_out_out": inner["quantizer/project_out"],
            "semantic_last_hidden_state_BTC": inner["semantic_encoder"],
            "semantic_layer0_out": inner["semantic_encoder/layers_0"],
            "semantic_adapter_out": swap(semantic),
            "acoustic_encoder_out": swap(acoustic),
            "acoustic_conv1_out": swap(inner["acoustic_encoder/conv1"]),
            "decoder_fc_out": decoded["fc"],
            "decoder_embed_out_BCT": swap(decoded["backbone/embed"]),
            "decoder_prior_net_out": decoded["backbone/prior_net_1"],
            "decoder_post_net_out": decoded["backbone/post_net_1"],
            "decoder_norm_out": decoded["backbone/norm"],
            "head_linear_out": decoded["head/linear"],
            "decode_from_codes_no_mask/audio_values": jax.jit(decode_tokens(network))(
                params, tokens
            )[:, None],
        }
        results |= quantised_and_drawn(settings, z, decoded["head/linear"])
        for n in (1, 2, 3):
            results[f"adapter_conv{n}_out"] = swap(inner[f"semantic_adapter/conv{n}"])
        for i in range(len(settings.ratios)):
            results[f"acoustic_block{i}_out"] = swap(inner[f"acoustic_encoder/block_{i}"])
        for i in range(settings.backbone.layers):
            results[f"decoder_layer{i}_out"] = decoded[f"backbone/layers_{i}"]
        for i in range(len(mask)):
            if f"item{i}_alone_no_mask/audio_codes" in case.io:
                results |= alone(case, settings, params, i, int(mask[i].sum()))
        return {k: v for k, v in results.items() if k in case.io}

    return adapter


def decode_tokens(network: CodecNetwork) -> Callable[[Any, jax.Array], jax.Array]:
    return lambda params, tokens: network.apply({"params": params}, tokens, method="decode")


def quantised_and_drawn(settings: CodecSettings, z: jax.Array, linear: jax.Array) -> Values:
    """Around the quantiser and the head."""
    clip = acoustic_decoder(settings).head.clip

    @jax.jit
    def compute(z: jax.Array, linear: jax.Array) -> Values:
        once = fsq.bound(z, settings.levels)
        magnitude, phase = polar_parts(linear, clip)
        return {
            "bounded_once": once,
            "bounded_twice": fsq.bound(once, settings.levels),
            "fsq_codes": fsq.quantise(z, settings.levels)[0],
            "magnitude_clipped": magnitude,
            "phase": phase,
        }

    return compute(z, linear)


def alone(case: Case, settings: CodecSettings, params: Any, item: int, frames: int) -> Values:
    """One item of the batch by itself, without masks."""
    network, prefix = CodecNetwork(settings), f"item{item}_alone_no_mask"
    hops = frames if settings.family == "xcodec2" else frames + 1
    wave = case.io["input_values"][item : item + 1, 0, : hops * settings.hop_length]
    features = case.io["input_features"][item : item + 1, :frames]

    @jax.jit
    def both(params: Any, wave: jax.Array, features: jax.Array) -> list[jax.Array]:
        variables = {"params": params}
        latents, tokens = network.apply(variables, wave, None, features, method="quantise")
        decoder = acoustic_decoder(settings)
        return [tokens, decoder.apply({"params": params["acoustic_decoder"]}, latents)]

    tokens, audio = both(params, wave, features)
    return {
        f"{prefix}/audio_codes": tokens[:, None],
        f"{prefix}/audio_values": audio[:, None],
    }


def original_settings(c: Settings) -> CodecSettings:
    pooling = pooling_of(c["pool"]) if "pool" in c else 1
    ratios = tuple(c["up_ratios"])
    return CodecSettings(
        output_rate=INPUT_RATE * c["hop_length"] // (math.prod(ratios) * pooling),
        semantic=SemanticSettings(size=c["semantic_dim"], layers=0),
        backbone=TransformerSettings(
            c["hidden_dim"], 4 * c["hidden_dim"], c["depth"], c["heads"], c["pos_meb_dim"]
        ),
        encoder_width=c["ngf"],
        ratios=ratios,
        levels=tuple(c["levels"]),
        pooling=pooling,
    )


def pooling_of(words: str) -> int:
    """How many frames make a token: "AvgPool1d(2, stride 2) ..."."""
    kernel, stride = re.match(r"AvgPool1d\((\d+), ?(?:stride )?(\d+)\)", words).groups()
    if kernel != stride:
        raise NotSupportedError(f"pool of {kernel} frames, {stride} apart")
    return int(kernel)


def original(case: Case) -> Values:
    """The original modules under their own names, with a stand-in for the semantic features."""
    c = case.small
    settings = original_settings(c)
    c.follows("hop_length", settings.output_hop_length)
    c.follows("vq_dim", settings.semantic.size + settings.backbone.size)
    network = CodecNetwork(settings)
    state = namings.from_original(case.weights, c["pos_meb_dim"])
    like = codec_shapes(settings)
    like.pop("semantic_encoder")
    params = from_torch(CodecNetwork.torch_rules, state, like)
    stored = namings.to_original(state, c["pos_meb_dim"])
    again = namings.from_original(stored, c["pos_meb_dim"])
    assert set(again) == set(state)
    assert all(np.array_equal(state[k], v) for k, v in again.items())

    wave = case.given("wav")[:, 0]
    semantic = swap(case.given("semantic_hidden"))

    def whole(network: CodecNetwork, wave: jax.Array, semantic: jax.Array) -> Any:
        latents, tokens = network.tokens_of(semantic, network.acoustic_encoder(wave))
        return latents, tokens, network.acoustic_decoder(latents)

    (latents, tokens, audio), inner = run(network, params, wave, semantic, method=whole)
    z, linear = inner["quantizer/project_in"], inner["acoustic_decoder/head/linear"]
    more = quantised_and_drawn(settings, z, linear)
    results = {
        "CodecEnc_out_BCT": swap(inner["acoustic_encoder"]),
        "SemanticEncoder_module_out_BCT": swap(inner["semantic_adapter"]),
        "fc_prior_out_BCT": swap(inner["fc_encoder"]),
        "pooled_BCT": swap(inner["quantizer/in"]),
        "vq_code": tokens[:, None],
        "vq_post_emb_BCT": swap(latents),
        "project_in_out": z,
        "bounded_twice": more["bounded_twice"],
        "fc_post_a_out_BTC": inner["acoustic_decoder/fc"],
        "backbone_out_BTC": inner["acoustic_decoder/backbone"],
        "head_out_BFT": swap(linear),
        "magnitude_clipped_BFT": swap(more["magnitude_clipped"]),
        "audio": np.asarray(audio)[:, None],
    }
    return {k: v for k, v in results.items() if k in case.io}


def full_codec(family: str) -> Callable[[Settings], Names]:
    return lambda c: names(CodecNetwork.torch_rules, codec_shapes(codec_settings(c, family)))


def original_names(settings: CodecSettings, semantic: bool) -> Names:
    """Names and shapes of a training checkpoint, with or without the semantic encoder."""
    like = codec_shapes(settings)
    if not semantic:
        like.pop("semantic_encoder")
    layout = torch_layout(CodecNetwork.torch_rules, like).values()
    state = {key: np.broadcast_to(np.float32(1), shape) for key, _, shape in layout}
    original = namings.to_original(state, settings.backbone.head_size)
    return {k: list(v.shape) for k, v in original.items() if not namings.DROPPED.fullmatch(k)}


def full_original(c: Settings) -> Names:
    encoder, generator = c["CodecEnc"], c["generator"]
    size = generator["hidden_dim"]
    settings = CodecSettings(
        semantic=SemanticSettings(layers=24),  # as facebook/w2v-bert-2.0 is stored
        backbone=TransformerSettings(
            size, 4 * size, generator["depth"], generator["heads"], generator["pos_meb_dim"]
        ),
        encoder_width=encoder["ngf"],
        ratios=tuple(encoder["up_ratios"]),
        levels=tuple(generator["levels"]),
    )
    return original_names(settings, semantic=True)


def full_25hz(c: Settings) -> Names:
    """This fork spells weight norms and Snake's beta its own way."""
    pooling = pooling_of(c["pool"])
    settings = CodecSettings(output_rate=c["output_sampling_rate"], pooling=pooling)
    assert settings.output_hop_length == c["hop_length"]
    spelled = {
        ".weight_g": ".parametrizations.weight.original0",
        ".weight_v": ".parametrizations.weight.original1",
        ".act.beta": ".act.bias",
    }
    found = {}
    for key, shape in original_names(settings, semantic=False).items():
        ours = next((end for end in spelled if key.endswith(end)), None)
        found[key.removesuffix(ours) + spelled[ours] if ours else key] = shape
    return found


ADAPTERS = {
    "xcodec2_hf": transformers_model("xcodec2"),
    "neucodec": transformers_model("neucodec"),
    "xcodec2_original": original,
    "xcodec2_25hz_24k": original,
}
FULL_NETWORKS = {
    "xcodec2_hf": full_codec("xcodec2"),
    "neucodec": full_codec("neucodec"),
    "xcodec2_original": full_original,
    "xcodec2_25hz_24k": full_25hz,
}
