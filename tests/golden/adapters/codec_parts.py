"""The parts of the frozen codec: features, encoders, quantiser, decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.stft import overlap_add
from codecbwe_jax.audio.window import hann
from codecbwe_jax.codec.acoustic_encoder import AcousticEncoder
from codecbwe_jax.codec.fbank import (
    FRAME_LENGTH,
    FRAME_SHIFT,
    kaldi_filterbank,
    log_mel,
    povey_window,
    stacked_fbank,
)
from codecbwe_jax.codec.network import acoustic_decoder
from codecbwe_jax.codec.settings import CodecSettings
from codecbwe_jax.codec.w2v_bert import SemanticSettings, W2vBert, relative_logits
from codecbwe_jax.decoders.istft_head import IstftHead, polar_parts
from codecbwe_jax.decoders.network import decoder_rules
from codecbwe_jax.decoders.transformer import TransformerBackbone, TransformerSettings
from codecbwe_jax.nn import fsq
from codecbwe_jax.nn.snake import (
    downsample,
    kaiser_sinc_taps,
    snake,
    upsample,
)
from tests.golden.case import Case, Check
from tests.golden.networks import Values, load, run, shapes, swap

DECODER_RULES = decoder_rules(TransformerBackbone, IstftHead)


def w2v_bert_fbank(case: Case) -> Values:
    results: Values = {
        "povey_window": povey_window(),
        "mel_banks_80x257": kaldi_filterbank().T,
    }
    np.testing.assert_allclose(povey_window(), case.weights["povey_window"], atol=1e-6)
    for name in (n.removesuffix("/waveform") for n in case.io if n.endswith("/waveform")):
        wave = pad_to_hop(case.given(f"{name}/waveform"))
        figures = case.config["tolerance"].get(name, {})
        mel = log_mel(np.pad(wave, ((0, 0), (160, 160))))[0]
        xcodec2 = stacked_fbank(wave, 160)[0]
        results[f"{name}/xcodec2_log_mel_unnormalised"] = loose(mel, figures, "log_mel")
        results[f"{name}/xcodec2_input_features"] = loose(xcodec2, figures, "xcodec2_features")
        results[f"{name}/neucodec_input_features"] = loose(
            stacked_fbank(wave, 0)[0], figures, "numpy_vs_torchaudio_neucodec"
        )
        results[f"{name}/original_numpy_input_features"] = loose(
            xcodec2, figures, "numpy_vs_torchaudio_features"
        )
        if f"{name}/first4_frames_raw" in case.io:
            results |= first_frames(case, name, wave)
    for family, edge in (("xcodec2", 160), ("neucodec", 0)):
        results |= batch(case, family, edge, results)
    return results


def pad_to_hop(wave: np.ndarray) -> np.ndarray:
    return np.pad(wave, (0, CodecSettings().padded(len(wave)) - len(wave)))[None]


def loose(value: Any, figures: Mapping[str, Any], begins: str) -> Check:
    figure = next((v for k, v in figures.items() if k.startswith(begins)), 0.0)
    peak = float(np.max(np.abs(value)))
    return Check(
        value,
        relative=max(3e-5, 10 * figure / peak),
        reason="ten times the case's own figure for this waveform, which stands under another name",
    )


def first_frames(case: Case, name: str, wave: np.ndarray) -> Values:
    """The first four frames after framing, after pre-emphasis, and their power."""
    padded = np.pad(wave[0], 160) * np.float32(32768)
    raw = np.stack([padded[i * FRAME_SHIFT :][:FRAME_LENGTH] for i in range(4)])
    centred = raw - raw.mean(axis=1, keepdims=True)
    before = np.concatenate([centred[:, :1], centred[:, :-1]], axis=1)
    emphasised = centred - np.float32(0.97) * before
    power = np.abs(np.fft.rfft(emphasised * povey_window(), 512)) ** 2
    known = {
        f"{name}/first4_frames_raw": raw,
        f"{name}/first4_frames_after_preemphasis": emphasised,
        f"{name}/first4_power_spectrum": power,
    }
    for tensor in known:  # the raw frames may be stored before or after scaling
        scale = np.abs(case.io[tensor]).max() / np.abs(known[tensor]).max()
        if not 0.5 < scale < 2:
            exponent = 2 if tensor.endswith("spectrum") else 1
            known[tensor] = known[tensor] / np.float32(32768) ** exponent
    return known


def batch(case: Case, family: str, edge: int, results: Values) -> Values:
    """Items normalised one by one, then padded with 1.0 to the longest."""
    items = [results[f"{n}/{family}_input_features"] for n in case.small["batch"]]
    key = f"batch/{family}_input_features"
    frames = case.io[key].shape[1]
    rows = [
        np.pad(np.asarray(i.ours), ((0, frames - len(i.ours)), (0, 0)), constant_values=1.0)
        for i in items
    ]
    lengths = [case.io[f"{n}/waveform"].size for n in case.small["batch"]]
    settings = CodecSettings(family=family)
    mask = np.stack([np.arange(frames) < len(i.ours) for i in items])
    case.leave_out(f"batch/{family}_padding_mask_sum", "masks of the reference's batches: we group")
    return {
        key: Check(np.stack(rows), relative=max(i.relative for i in items), reason=items[0].reason),
        f"{key}_mask": mask.astype(case.io[f"{key}_mask"].dtype),
        f"batch/{family}_input_values_length": np.array([settings.padded(max(lengths))]),
    }


def semantic_settings(config: Mapping[str, Any]) -> SemanticSettings:
    return SemanticSettings(
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["intermediate_size"],
        config["feature_projection_input_dim"],
        config["conv_depthwise_kernel_size"],
        config["left_max_position_embeddings"],
        config["right_max_position_embeddings"],
    )


def w2v_bert(case: Case) -> Values:
    s = semantic_settings(case.small)
    network = W2vBert(s)
    params = load(W2vBert.torch_rules, case.weights, shapes(network, (1, 8, s.features)))
    features, mask = case.given("input_features"), case.given("attention_mask").astype(bool)
    results: Values = {}
    for prefix, given in (("nomask", None), ("masked", mask)):
        out, inner = run(network, params, features, given)
        values = {"last_hidden_state": out, "feature_projection": inner["feature_projection"]}
        for i in range(s.layers):
            layer = f"layers_{i}"
            values |= {
                f"layer{i}_out": inner[layer],
                f"layer{i}_ffn1_out": inner[f"{layer}/ffn1"],
                f"layer{i}_ffn2_out": inner[f"{layer}/ffn2"],
                f"layer{i}_q_proj_out": inner[f"{layer}/self_attn/linear_q"],
                f"layer{i}_self_attn_out": inner[f"{layer}/self_attn"],
                f"layer{i}_conv_module_out": inner[f"{layer}/conv_module"],
            }
        results |= {f"{prefix}/{k}": v for k, v in values.items()}
        if given is None:
            results |= {f"{prefix}/{k}": v for k, v in first_layer(s, params, inner).items()}
    return {k: v for k, v in results.items() if k in case.io}


def first_layer(s: SemanticSettings, params: Any, inner: Values) -> Values:
    """Values inside the first layer that no module returns."""
    own = params["layers_0"]
    q = inner["layers_0/self_attn/linear_q"]
    q = q.reshape(*q.shape[:2], s.heads, -1)
    table = own["self_attn"]["distance_embedding"]
    value, gate = np.split(np.asarray(inner["layers_0/conv_module/pointwise_conv1"]), 2, axis=-1)
    gated = value * nn.sigmoid(gate)
    return {
        "layer0_position_bias": relative_logits(q, table, s.left, s.right) / np.sqrt(q.shape[-1]),
        "layer0_conv_module_glu_out_BCT": swap(gated),
        "layer0_conv_module_depthwise_out_BCT": swap(inner["layers_0/conv_module/depthwise_conv"]),
    }


def snake_acoustic_encoder(case: Case) -> Values:
    c = case.small
    network = AcousticEncoder(c["encoder_hidden_size"], c["downsampling_ratios"], c["hidden_size"])
    params = load(AcousticEncoder.torch_rules, case.weights, shapes(network, (1, 960)))
    out, inner = run(network, params, case.given("input")[:, 0])
    results = {
        "output": swap(out),
        "conv1_out": swap(inner["conv1"]),
        "final_snake1_out": swap(inner["snake1"]),
        "kaiser_filter_up_down": kaiser_sinc_taps(),
        "output_odd_length": swap(run(network, params, case.given("input_odd_length")[:, 0])[0]),
        "block0_snake1_out": swap(inner["block_0/snake1"]),
    }
    for i in range(len(c["downsampling_ratios"])):
        results[f"block{i}_out"] = swap(inner[f"block_{i}"])
    for u in (1, 2, 3):
        results[f"block0_res_unit{u}_out"] = swap(inner[f"block_0/res_unit{u}"])
    own = params["block_0"]["res_unit1"]["snake1"]
    up = upsample(inner["conv1"])
    act = tuple(snake(x, np.exp(own["alpha"]), np.exp(own["beta"])) for x in up)
    prefix = "block0_res_unit1_snake1"
    return results | {
        f"{prefix}_upsample_out": swap(interleave(*up)),
        f"{prefix}_act_out": swap(interleave(*act)),
        f"{prefix}_downsample_out": swap(downsample(act)),
    }


def interleave(even: jax.Array, odd: jax.Array) -> jax.Array:
    stacked = jnp.stack([even, odd], axis=2)
    return stacked.reshape(even.shape[0], -1, even.shape[2])


def fsq_case(case: Case) -> Values:
    results: Values = {}
    for name, c in case.small.items():
        if not isinstance(c, dict):
            continue
        levels = tuple(c["levels"])
        network = fsq.Quantiser(levels, c["dim"])
        weights = {
            k.removeprefix(f"{name}/"): v
            for k, v in case.weights.items()
            if k.startswith(f"{name}/")
        }
        params = load(fsq.Quantiser.torch_rules, weights, shapes(network, (1, 1, c["dim"])))
        x = case.given(f"{name}/input")
        (out, indices), inner = run(network, params, x)
        z = inner["project_in"]
        once = fsq.bound(z, levels)
        cotangent = case.given(f"{name}/grad_cotangent")

        def scalar(x: jax.Array, network=network, params=params, cotangent=cotangent) -> jax.Array:
            return jnp.sum(network.apply({"params": params}, x)[0] * cotangent)

        plain = jnp.round(once).astype(jnp.int32) + np.asarray(levels) // 2
        basis = np.cumprod([1, *levels[:-1]])
        wrong = (plain * basis).sum(-1)[..., None]
        case.leave_out(f"{name}/indices_if_bounded_once_WRONG", "must not match; asserted")
        assert np.array_equal(wrong, case.io[f"{name}/indices_if_bounded_once_WRONG"])
        assert not np.array_equal(indices[..., None], wrong)
        results |= {
            f"{name}/projected_in": z,
            f"{name}/bounded_once": once,
            f"{name}/bounded_twice": fsq.bound(once, levels),
            f"{name}/codes": fsq.quantise(z, levels)[0],
            f"{name}/indices": indices[..., None],
            f"{name}/output": out,
            f"{name}/dequantized_from_indices": network.apply(
                {"params": params}, indices, method="latents"
            ),
            f"{name}/grad_input": jax.grad(scalar)(x),
            f"{name}/table_codes": fsq.codes_of(case.given(f"{name}/table_indices"), levels),
            f"{name}/levels": np.asarray(levels),
            f"{name}/basis": basis,
        }
    return results


def backbone_settings(c: Mapping[str, Any]) -> TransformerSettings:
    return TransformerSettings(
        c["hidden_size"],
        c["intermediate_size"],
        c["num_hidden_layers"],
        c["num_attention_heads"],
        c["head_dim"],
    )


def vocos_decoder_16k(case: Case) -> Values:
    c = case.small
    settings = CodecSettings(backbone=backbone_settings(c), ratios=tuple(c["downsampling_ratios"]))
    network = acoustic_decoder(settings)
    latents = case.given("latents")
    params = load(DECODER_RULES, case.weights, shapes(network, latents.shape))
    out, inner = run(network, params, latents)
    head = inner["head/linear"]
    magnitude, phase = polar_parts(head, 100.0)
    hop = settings.output_hop_length
    window = hann(4 * hop)
    frames = np.fft.irfft(np.asarray(magnitude * np.exp(1j * phase)), 4 * hop) * window
    squared = np.broadcast_to(window**2, frames.shape[1:])
    assert not np.allclose(out, case.io["audio_if_rotary_over_time_WRONG"][:, 0], atol=1e-3)
    case.leave_out("audio_if_rotary_over_time_WRONG", "must not match; asserted")
    results = {
        "audio": np.asarray(out)[:, None],
        "fc_out": inner["fc"],
        "embed_out_BCT": swap(inner["backbone/embed"]),
        "head_linear_out": head,
        "magnitude_clipped": magnitude,
        "phase": phase,
        "istft_windowed_frames": frames[:1],
        "istft_overlap_add_uncropped": overlap_add(frames[:1], hop),
        "istft_window_envelope_uncropped": overlap_add(squared, hop),
        "window": window,
        "prior_net0_norm1_out_BCT": swap(inner["backbone/prior_net_0/norm1"]),
        "prior_net0_conv1_out_BCT": swap(inner["backbone/prior_net_0/conv1"]),
        "layer0_input_norm_out": inner["backbone/layers_0/input_layernorm"],
        "layer0_q_proj_out": inner["backbone/layers_0/self_attn/q_proj"],
        "layer0_k_proj_out": inner["backbone/layers_0/self_attn/k_proj"],
        "final_norm_out": inner["backbone/norm"],
    }
    for i in range(2):
        results[f"prior_net{i}_out"] = inner[f"backbone/prior_net_{i}"]
        results[f"post_net{i}_out"] = inner[f"backbone/post_net_{i}"]
    for i in range(c["num_hidden_layers"]):
        results[f"layer{i}_attn_out"] = inner[f"backbone/layers_{i}/self_attn"]
        results[f"layer{i}_mlp_out"] = inner[f"backbone/layers_{i}/mlp"]
        results[f"layer{i}_out"] = inner[f"backbone/layers_{i}"]
    return results


def full_w2v_bert(config: Mapping[str, Any]) -> tuple[Any, Any]:
    s = semantic_settings(config)
    return W2vBert.torch_rules, shapes(W2vBert(s), (1, 8, s.features))


def full_acoustic_encoder(c: Mapping[str, Any]) -> tuple[Any, Any]:
    network = AcousticEncoder(c["encoder_hidden_size"], c["downsampling_ratios"], c["hidden_size"])
    return AcousticEncoder.torch_rules, shapes(network, (1, 640))


def full_fsq(c: Mapping[str, Any]) -> tuple[Any, Any]:
    network = fsq.Quantiser(tuple(c["levels"]), c["dim"])
    return fsq.Quantiser.torch_rules, shapes(network, (1, 1, c["dim"]))


def full_decoder(c: Mapping[str, Any]) -> tuple[Any, Any]:
    settings = CodecSettings(backbone=backbone_settings(c))
    return DECODER_RULES, shapes(acoustic_decoder(settings), (1, 4, c["fc_in"]))


ADAPTERS = {
    "w2v_bert_fbank": w2v_bert_fbank,
    "w2v_bert": w2v_bert,
    "snake_acoustic_encoder": snake_acoustic_encoder,
    "fsq": fsq_case,
    "vocos_decoder_16k": vocos_decoder_16k,
}
FULL_NETWORKS = {
    "w2v_bert": full_w2v_bert,
    "snake_acoustic_encoder": full_acoustic_encoder,
    "fsq": full_fsq,
    "vocos_decoder_16k": full_decoder,
}
