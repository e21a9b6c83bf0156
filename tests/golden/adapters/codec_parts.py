"""The parts of the frozen codec: features, encoders, quantiser, decoder."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.stft import overlap_add, synthesis_frames, window_envelope
from codecbwe_jax.audio.window import hann
from codecbwe_jax.codec.acoustic_encoder import AcousticEncoder
from codecbwe_jax.codec.fbank import (
    emphasised,
    kaldi_filterbank,
    kaldi_frames,
    log_mel,
    povey_window,
    power_spectrum,
    stacked_fbank,
    stacked_frames,
)
from codecbwe_jax.codec.network import acoustic_decoder
from codecbwe_jax.codec.settings import CodecSettings
from codecbwe_jax.codec.w2v_bert import SemanticSettings, W2vBert, relative_logits
from codecbwe_jax.decoders.istft_head import IstftHead, polar_parts, spectrum_of
from codecbwe_jax.decoders.network import decoder_rules
from codecbwe_jax.decoders.transformer import TransformerBackbone, TransformerSettings
from codecbwe_jax.nn import fsq
from codecbwe_jax.nn.lengths import mask_of
from codecbwe_jax.nn.snake import downsample, kaiser_sinc_taps, snake, upsample
from tests.golden.case import Case, Check
from tests.golden.networks import Names, Values, load, names, part, run, shapes, swap
from tests.golden.settings import Settings

DECODER_RULES = decoder_rules(TransformerBackbone, IstftHead)


def w2v_bert_fbank(case: Case) -> Values:
    results: Values = {"povey_window": povey_window(), "mel_banks_80x257": kaldi_filterbank().T}
    # the original designs them in float32: cosines of values near 1, mels near 3000
    np.testing.assert_allclose(povey_window(), case.weights["povey_window"], atol=1e-6)
    np.testing.assert_allclose(kaldi_filterbank().T, case.weights["mel_banks_80x257"], atol=2e-5)

    @jax.jit
    def features(wave: jax.Array) -> list[jax.Array]:
        edge = EDGES["xcodec2"]
        mel = log_mel(jnp.pad(wave, ((0, 0), (edge, edge))))
        return [mel[0], *(stacked_fbank(wave, edge)[0] for edge in EDGES.values())]

    waves = {}
    for name in (n.removesuffix("/waveform") for n in case.io if n.endswith("/waveform")):
        waves[name] = pad_to_hop(case.given(f"{name}/waveform"))
        figures = case.config["tolerance"].get(name, {})
        mel, xcodec2, neucodec = features(waves[name][None])
        values = {
            "xcodec2_log_mel_unnormalised": (mel, "log_mel"),
            "xcodec2_input_features": (xcodec2, "xcodec2_features"),
            "neucodec_input_features": (neucodec, "numpy_vs_torchaudio_neucodec"),
            "original_numpy_input_features": (xcodec2, "numpy_vs_torchaudio_features"),
        }
        for tensor, (value, begins) in values.items():
            figure = next((v for k, v in figures.items() if k.startswith(begins)), 0.0)
            results[f"{name}/{tensor}"] = Check(value, figure=figure)
        if f"{name}/first4_frames_raw" in case.io:
            results |= first_frames(name, waves[name])
    for family in EDGES:
        results |= batch(case, family, [waves[n] for n in case.small["batch"]])
    return results


EDGES = {f: CodecSettings(family=f).fbank_edge for f in ("xcodec2", "neucodec")}


def pad_to_hop(wave: np.ndarray) -> np.ndarray:
    return np.pad(wave, (0, CodecSettings().padded(len(wave)) - len(wave)))


def first_frames(name: str, wave: np.ndarray) -> Values:
    """The first four frames as they are, after pre-emphasis, and their power."""

    @jax.jit
    def compute(wave: jax.Array) -> Values:
        raw = kaldi_frames(wave)[0, :4]
        sharp = emphasised(raw)
        return {
            f"{name}/first4_frames_raw": raw,
            f"{name}/first4_frames_after_preemphasis": sharp,
            f"{name}/first4_power_spectrum": power_spectrum(sharp),
        }

    return compute(np.pad(wave, EDGES["xcodec2"])[None])


def batch(case: Case, family: str, waves: list[np.ndarray]) -> Values:
    """Items of several lengths at once. The reference fills up with ones, which nothing reads."""
    edge, lengths = EDGES[family], np.array([len(w) for w in waves])
    longest = max(lengths)
    rows = np.stack([np.pad(w, (0, longest - len(w))) for w in waves])
    ours = jax.jit(lambda x, n: stacked_fbank(x, edge, n))(rows, lengths)
    frames = ours.shape[1]
    mask = np.asarray(jax.jit(lambda n: mask_of(stacked_frames(n, edge), frames))(lengths))
    figures = [
        value
        for name in case.small["batch"]
        for key, value in case.config["tolerance"].get(name, {}).items()
        if key != "frames" and not key.startswith("log_mel")
    ]
    case.leave_out(f"batch/{family}_padding_mask_sum", "a mask of samples; ours are lengths")
    key = f"batch/{family}_input_features"
    return {
        key: Check(
            ours, where=mask[..., None], figure=max(figures, default=0.0), reason="of the items"
        ),
        f"{key}_mask": mask.astype(case.io[f"{key}_mask"].dtype),
        f"batch/{family}_input_values_length": np.array([longest]),
    }


def semantic_settings(config: Settings) -> SemanticSettings:
    config.only("hidden_act", "swish")
    config.only("layer_norm_eps", 1e-5)
    config.only("position_embeddings_type", "relative_key")
    config.only("add_adapter", False)
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
            layer, conv = f"layers_{i}", f"layers_{i}/conv_module"
            values |= {
                f"layer{i}_out": inner[layer],
                f"layer{i}_ffn1_out": inner[f"{layer}/ffn1"],
                f"layer{i}_ffn2_out": inner[f"{layer}/ffn2"],
                f"layer{i}_q_proj_out": inner[f"{layer}/self_attn/linear_q"],
                f"layer{i}_self_attn_out": inner[f"{layer}/self_attn"],
                f"layer{i}_conv_module_out": inner[conv],
                f"layer{i}_conv_module_glu_out_BCT": swap(inner[f"{conv}/depthwise_conv/in"]),
                f"layer{i}_conv_module_depthwise_out_BCT": swap(inner[f"{conv}/depthwise_conv"]),
            }
        if given is not None:  # what padded frames hold means nothing
            valid = {"where": mask[..., None], "reason": "of valid frames"}
            values = {k: Check(v, **valid) for k, v in values.items() if not k.endswith("_BCT")}
        results |= {f"{prefix}/{k}": v for k, v in values.items()}
        if given is None:
            q = inner["layers_0/self_attn/linear_q"]
            results["nomask/layer0_position_bias"] = position_bias(s, params, q)
    return {k: v for k, v in results.items() if k in case.io}


def position_bias(s: SemanticSettings, params: Any, q: np.ndarray) -> np.ndarray:
    """What the first layer adds to its logits."""
    q = q.reshape(*q.shape[:2], s.heads, -1)
    table = params["layers_0"]["self_attn"]["distance_embedding"]
    bias = jax.jit(lambda q: relative_logits(q, table, s.left, s.right))(q)
    return np.asarray(bias) / np.sqrt(q.shape[-1])


def snake_acoustic_encoder(case: Case) -> Values:
    c = case.small
    network = AcousticEncoder(c["encoder_hidden_size"], c["downsampling_ratios"], c["hidden_size"])
    wave = case.given("input")[:, 0]
    params = load(AcousticEncoder.torch_rules, case.weights, shapes(network, wave.shape))
    out, inner = run(network, params, wave)
    results = {
        "output": swap(out),
        "conv1_out": swap(inner["conv1"]),
        "final_snake1_out": swap(inner["snake1"]),
        "kaiser_filter_up_down": kaiser_sinc_taps(),
        "output_odd_length": swap(run(network, params, case.given("input_odd_length")[:, 0])[0]),
    }
    for i in range(len(c["downsampling_ratios"])):
        results[f"block{i}_out"] = swap(inner[f"block_{i}"])
        results[f"block{i}_snake1_out"] = swap(inner[f"block_{i}/snake1"])
        for u in (1, 2, 3):
            results[f"block{i}_res_unit{u}_out"] = swap(inner[f"block_{i}/res_unit{u}"])
    own = params["block_0"]["res_unit1"]["snake1"]

    @jax.jit
    def first_snake(x: jax.Array) -> list[jax.Array]:
        up = upsample(x)
        act = tuple(snake(x, jnp.exp(own["alpha"]), jnp.exp(own["beta"])) for x in up)
        return [interleave(*up), interleave(*act), downsample(act)]

    parts = zip(("upsample", "act", "downsample"), first_snake(inner["conv1"]), strict=True)
    named = {f"block0_res_unit1_snake1_{part}_out": swap(x) for part, x in parts}
    return {k: v for k, v in (results | named).items() if k in case.io}


def interleave(even: jax.Array, odd: jax.Array) -> jax.Array:
    stacked = jnp.stack([even, odd], axis=2)
    return stacked.reshape(even.shape[0], -1, even.shape[2])


def fsq_case(case: Case) -> Values:
    results: Values = {}
    for name, c in case.small.items():
        if isinstance(c, Settings):
            results |= {f"{name}/{k}": v for k, v in quantiser(case, name, c).items()}
    return results


def quantiser(case: Case, name: str, c: Settings) -> Values:
    levels = tuple(c["levels"])
    network = fsq.Quantiser(levels, c["dim"])
    own = part(case.weights, f"{name}/")
    params = load(fsq.Quantiser.torch_rules, own, shapes(network, (1, 1, c["dim"])))
    x, cotangent = case.given(f"{name}/input"), case.given(f"{name}/grad_cotangent")
    table = case.given(f"{name}/table_indices")
    assert tuple(case.given(f"{name}/levels")) == levels
    (out, indices), inner = run(network, params, x)

    def scalar(x: jax.Array) -> jax.Array:
        return jnp.sum(network.apply({"params": params}, x)[0] * cotangent)

    @jax.jit
    def more(x: jax.Array, z: jax.Array, indices: jax.Array) -> Values:
        once = fsq.bound(z, levels)
        return {
            "bounded_once": once,
            "bounded_twice": fsq.bound(once, levels),
            "codes": fsq.quantise(z, levels)[0],
            "dequantized_from_indices": network.apply(
                {"params": params}, indices, method="latents"
            ),
            "grad_input": jax.grad(scalar)(x),
            "table_codes": fsq.codes_of(table, levels),
        }

    wrong = f"{name}/indices_if_bounded_once_WRONG"
    case.leave_out(wrong, "must not match; asserted")
    assert not np.array_equal(indices[..., None], case.io[wrong])
    return more(x, inner["project_in"], indices) | {
        "projected_in": inner["project_in"],
        "indices": indices[..., None],
        "output": out,
        "basis": fsq.basis(levels),
    }


def backbone_settings(c: Settings) -> TransformerSettings:
    c.only("hidden_act", "silu")
    c.only("rms_norm_eps", 1e-6)
    c.only("attention_bias", False)
    c.only("num_key_value_heads", c["num_attention_heads"])
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
    assert latents.shape[2] == c["hidden_size"] + c["semantic_hidden_size"]
    params = load(DECODER_RULES, case.weights, shapes(network, latents.shape))
    out, inner = run(network, params, latents)
    wrong = "audio_if_rotary_over_time_WRONG"
    case.leave_out(wrong, "must not match; asserted")
    assert not np.allclose(out, case.io[wrong][:, 0], atol=1e-3)
    results = synthesis(inner["head/linear"], network.head) | {
        "audio": np.asarray(out)[:, None],
        "fc_out": inner["fc"],
        "embed_out_BCT": swap(inner["backbone/embed"]),
        "head_linear_out": inner["head/linear"],
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
    for i in range(settings.backbone.layers):
        results[f"layer{i}_attn_out"] = inner[f"backbone/layers_{i}/self_attn"]
        results[f"layer{i}_mlp_out"] = inner[f"backbone/layers_{i}/mlp"]
        results[f"layer{i}_out"] = inner[f"backbone/layers_{i}"]
    return results


def synthesis(linear: jax.Array, head: IstftHead) -> Values:
    """From the head's layer to its waveform, of the first item."""
    n_fft, hop = 4 * head.hop_length, head.hop_length
    window = hann(n_fft)

    @jax.jit
    def parts(linear: jax.Array) -> Values:
        magnitude, phase = polar_parts(linear, head.clip)
        frames = synthesis_frames(spectrum_of(linear[:1], head.clip), n_fft, n_fft)
        return {
            "magnitude_clipped": magnitude,
            "phase": phase,
            "istft_windowed_frames": frames,
            "istft_overlap_add_uncropped": overlap_add(frames, hop),
        }

    envelope = window_envelope(window, linear.shape[1], hop)
    return parts(linear) | {
        "window": window,
        # no window reaches the first sample: ours is 1 there
        "istft_window_envelope_uncropped": Check(envelope, samples=(1, len(envelope))),
    }


def full_w2v_bert(config: Settings) -> Names:
    s = semantic_settings(config)
    return names(W2vBert.torch_rules, shapes(W2vBert(s), (1, 8, s.features)))


def full_acoustic_encoder(c: Settings) -> Names:
    network = AcousticEncoder(c["encoder_hidden_size"], c["downsampling_ratios"], c["hidden_size"])
    return names(AcousticEncoder.torch_rules, shapes(network, (1, 640)))


def full_fsq(c: Settings) -> Names:
    network = fsq.Quantiser(tuple(c["levels"]), c["dim"])
    return names(fsq.Quantiser.torch_rules, shapes(network, (1, 1, c["dim"])))


def full_decoder(c: Settings) -> Names:
    network = acoustic_decoder(CodecSettings(backbone=backbone_settings(c)))
    return names(DECODER_RULES, shapes(network, (1, 4, c["fc_in"])))


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
