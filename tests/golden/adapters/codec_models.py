"""Whole codecs in three namings of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from codecbwe_jax.codec import names
from codecbwe_jax.codec.network import CodecNetwork, acoustic_decoder
from codecbwe_jax.codec.settings import CodecSettings
from codecbwe_jax.codec.w2v_bert import SemanticSettings
from codecbwe_jax.decoders.istft_head import polar_parts
from codecbwe_jax.decoders.transformer import TransformerSettings
from codecbwe_jax.interop.weights import from_torch
from codecbwe_jax.nn import fsq
from tests.golden.adapters.codec_parts import backbone_settings, semantic_settings
from tests.golden.case import Case
from tests.golden.networks import Values, load, run, shapes, swap


def codec_settings(c: Mapping[str, Any], family: str) -> CodecSettings:
    return CodecSettings(
        family=family,
        output_rate={"xcodec2": 16000, "neucodec": 24000}[family],
        semantic=semantic_settings(c["semantic_model_config"]),
        backbone=backbone_settings(c),
        encoder_width=c["encoder_hidden_size"],
        ratios=tuple(c["downsampling_ratios"]),
        levels=tuple(c["quantization_levels"]),
    )


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
        (latents, tokens), inner = run(
            network, params, wave, None, features, mask, method=CodecNetwork.quantise
        )
        codes_mask = reference_mask(case, settings, tokens.shape[1])
        decoder_mask = codes_mask.astype(bool) if family == "neucodec" else None

        def decode(latents: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, Values]:
            return run(acoustic_decoder(settings), params["acoustic_decoder"], latents, None, mask)

        audio, decoded = decode(latents, decoder_mask)
        z = inner["quantizer/project_in"]
        once = fsq.bound(z, settings.levels)
        magnitude, phase = polar_parts(decoded["head/linear"], 100.0)
        semantic, acoustic = inner["semantic_adapter"], inner["acoustic_encoder"]
        frames = tokens.shape[1]
        results = {
            "audio_codes": tokens[:, None],
            "audio_codes_mask": codes_mask,
            "latents": swap(latents),
            "audio_values": np.asarray(audio)[:, None],
            "fc_encoder_in_concat": np.concatenate(
                [semantic[:, :frames], acoustic[:, :frames]], axis=-1
            ),
            "fc_encoder_out": inner["fc_encoder"],
            "quantizer_project_in_out": z,
            "bounded_once": once,
            "bounded_twice": fsq.bound(once, settings.levels),
            "fsq_codes": fsq.quantise(z, settings.levels)[0],
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
            "magnitude_clipped": magnitude,
            "phase": phase,
            "decode_from_codes_no_mask/audio_values": network.apply(
                {"params": params}, tokens, method=CodecNetwork.decode
            )[:, None],
        }
        for n in (1, 2, 3):
            results[f"adapter_conv{n}_out"] = swap(inner[f"semantic_adapter/conv{n}"])
        for i in range(len(settings.ratios)):
            results[f"acoustic_block{i}_out"] = swap(inner[f"acoustic_encoder/block_{i}"])
        for i in range(settings.backbone.layers):
            results[f"decoder_layer{i}_out"] = decoded[f"backbone/layers_{i}"]
        for i in range(2):
            results |= alone(case, settings, params, i, int(mask[i].sum()))
        return {k: v for k, v in results.items() if k in case.io}

    return adapter


def alone(case: Case, settings: CodecSettings, params: Any, item: int, frames: int) -> Values:
    """One item of the batch by itself, without masks."""
    network, prefix = CodecNetwork(settings), f"item{item}_alone_no_mask"
    hops = frames if settings.family == "xcodec2" else frames + 1
    wave = case.io["input_values"][item : item + 1, 0, : hops * settings.hop_length]
    features = case.io["input_features"][item : item + 1, :frames]
    latents, tokens = network.apply(
        {"params": params}, wave, None, features, method=CodecNetwork.quantise
    )
    audio = acoustic_decoder(settings).apply({"params": params["acoustic_decoder"]}, latents)
    return {
        f"{prefix}/audio_codes": tokens[:, None],
        f"{prefix}/audio_values": audio[:, None],
    }


def reference_mask(case: Case, settings: CodecSettings, frames: int) -> np.ndarray:
    """`audio_codes_mask` with the reference's own miscounts."""
    lengths = case.given("padding_mask").sum(axis=1)
    if settings.family == "neucodec":
        lengths = (lengths * settings.output_rate / 16000).astype(int)
    tokens = lengths[:, None] // settings.hop_length
    return (np.arange(frames)[None] < tokens).astype(case.io["audio_codes_mask"].dtype)


def original(case: Case) -> Values:
    """The original modules under their own names, with a stand-in for the semantic features."""
    c = case.small
    pooling = 2 if "pool" in c else 1
    encoder_hop = int(np.prod(c["up_ratios"]))
    settings = CodecSettings(
        output_rate=16000 * c["hop_length"] // (encoder_hop * pooling),
        semantic=SemanticSettings(size=c["semantic_dim"], layers=0),
        backbone=TransformerSettings(
            c["hidden_dim"], 4 * c["hidden_dim"], c["depth"], c["heads"], c["pos_meb_dim"]
        ),
        encoder_width=c["ngf"],
        ratios=tuple(c["up_ratios"]),
        levels=tuple(c["levels"]),
        pooling=pooling,
    )
    network = CodecNetwork(settings)
    state = names.from_original(case.weights, c["pos_meb_dim"])
    like = codec_shapes(settings)
    like.pop("semantic_encoder")
    params = from_torch(CodecNetwork.torch_rules, state, like)
    stored = names.to_original(state, c["pos_meb_dim"])
    again = names.from_original(stored, c["pos_meb_dim"])
    assert set(again) == set(state)
    assert all(np.array_equal(state[k], v) for k, v in again.items())

    wave = case.given("wav")[:, 0]
    semantic = swap(case.given("semantic_hidden"))

    def whole(network: CodecNetwork, wave: jax.Array, semantic: jax.Array) -> Any:
        latents, tokens = network.tokens_of(semantic, network.acoustic_encoder(wave))
        return latents, tokens, network.acoustic_decoder(latents)

    (latents, tokens, audio), inner = run(network, params, wave, semantic, method=whole)
    magnitude, _ = polar_parts(inner["acoustic_decoder/head/linear"], 100.0)
    z = inner["quantizer/project_in"]
    pooled = inner["fc_encoder"]
    if pooling == 2:
        frames = pooled.shape[1] // 2
        pooled = pooled[:, : 2 * frames].reshape(pooled.shape[0], frames, 2, -1).mean(axis=2)
    results = {
        "CodecEnc_out_BCT": swap(inner["acoustic_encoder"]),
        "SemanticEncoder_module_out_BCT": swap(inner["semantic_adapter"]),
        "fc_prior_out_BCT": swap(inner["fc_encoder"]),
        "pooled_BCT": swap(pooled),
        "vq_code": tokens[:, None],
        "vq_post_emb_BCT": swap(latents),
        "project_in_out": z,
        "bounded_twice": fsq.bound(fsq.bound(z, settings.levels), settings.levels),
        "fc_post_a_out_BTC": inner["acoustic_decoder/fc"],
        "backbone_out_BTC": inner["acoustic_decoder/backbone"],
        "head_out_BFT": swap(inner["acoustic_decoder/head/linear"]),
        "magnitude_clipped_BFT": swap(magnitude),
        "audio": np.asarray(audio)[:, None],
    }
    return {k: v for k, v in results.items() if k in case.io}


def full_codec(family: str) -> Callable[[Mapping[str, Any]], tuple[Any, Any]]:
    return lambda c: (CodecNetwork.torch_rules, codec_shapes(codec_settings(c, family)))


ADAPTERS = {
    "xcodec2_hf": transformers_model("xcodec2"),
    "neucodec": transformers_model("neucodec"),
    "xcodec2_original": original,
    "xcodec2_25hz_24k": original,
}
FULL_NETWORKS = {"xcodec2_hf": full_codec("xcodec2"), "neucodec": full_codec("neucodec")}
