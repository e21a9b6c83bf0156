"""`config.json` of transformers' Xcodec2Model and NeuCodecModel <-> our settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codecbwe_jax.codec.settings import INPUT_RATE, CodecSettings
from codecbwe_jax.codec.w2v_bert import SemanticSettings
from codecbwe_jax.decoders.transformer import TransformerSettings
from codecbwe_jax.errors import UserError

CLASSES = {"xcodec2": "Xcodec2Model", "neucodec": "NeuCodecModel"}
# What the networks here have built in, and the values that it means in those files.
FIXED = {"hidden_act": "silu", "attention_bias": False, "rms_norm_eps": 1e-6}
FIXED_SEMANTIC = {
    "hidden_act": "swish",
    "add_adapter": False,
    "position_embeddings_type": "relative_key",
    "layer_norm_eps": 1e-5,
}


def covers(settings: CodecSettings) -> bool:
    """Whether one of transformers' classes is such a codec: neither has pooled tokens, and
    Xcodec2Model has one output rate."""
    return settings.pooling == 1 and (
        settings.family == "neucodec" or settings.output_rate == INPUT_RATE
    )


def config_of(settings: CodecSettings) -> dict[str, Any]:
    """The `config.json` of a folder that transformers loads.

    Raises:
      UserError: for a codec that its classes do not cover.
    """
    s, semantic, backbone = settings, settings.semantic, settings.backbone
    if not covers(s):
        raise UserError(
            f"no transformers model has {INPUT_RATE / s.token_hop_length:g} tokens a second and "
            f"{s.output_rate} Hz in the family {s.family}"
        )
    rates = {"sampling_rate": INPUT_RATE}
    if s.family == "neucodec":
        rates = {"input_sampling_rate": INPUT_RATE, "output_sampling_rate": s.output_rate}
    return {
        "architectures": [CLASSES[s.family]],
        "model_type": s.family,
        **FIXED,
        **rates,
        "hidden_size": backbone.size,
        "intermediate_size": backbone.intermediate,
        "num_hidden_layers": backbone.layers,
        "num_attention_heads": backbone.heads,
        "num_key_value_heads": backbone.heads,
        "head_dim": backbone.head_size,
        "encoder_hidden_size": s.encoder_width,
        "downsampling_ratios": list(s.ratios),
        "quantization_dim": backbone.size + semantic.size,
        "quantization_levels": list(s.levels),
        "semantic_model_config": {
            "model_type": "wav2vec2-bert",
            **FIXED_SEMANTIC,
            "hidden_size": semantic.size,
            "num_hidden_layers": semantic.layers,
            "num_attention_heads": semantic.heads,
            "intermediate_size": semantic.intermediate,
            "feature_projection_input_dim": semantic.features,
            "conv_depthwise_kernel_size": semantic.kernel_size,
            "left_max_position_embeddings": semantic.left,
            "right_max_position_embeddings": semantic.right,
        },
    }


def settings_of(config: Mapping[str, Any]) -> CodecSettings:
    """Settings from a `config.json`; what it does not say has transformers' default.

    Raises:
      UserError: if the model is not a codec of this kind, or has a feature that is not ported.
    """
    family = config.get("model_type")
    if family not in CLASSES:
        raise UserError(f"config.json: model_type is {family!r}; known: {', '.join(CLASSES)}")
    semantic = config.get("semantic_model_config") or {}
    heads = config.get("num_attention_heads", 16)
    fixed = {**FIXED, "num_key_value_heads": heads}
    for part, wanted in ((config, fixed), (semantic, FIXED_SEMANTIC)):
        for name, value in wanted.items():
            if part.get(name, value) != value:
                raise UserError(f"config.json: {name} is {part[name]!r}; only {value!r} is known")
    rate = config.get("output_sampling_rate", 24000) if family == "neucodec" else INPUT_RATE
    return CodecSettings(
        family=family,
        output_rate=rate,
        semantic=SemanticSettings(
            semantic.get("hidden_size", 1024),
            semantic.get("num_hidden_layers", 16),
            semantic.get("num_attention_heads", 16),
            semantic.get("intermediate_size", 4096),
            semantic.get("feature_projection_input_dim", 160),
            semantic.get("conv_depthwise_kernel_size", 31),
            semantic.get("left_max_position_embeddings", 64),
            semantic.get("right_max_position_embeddings", 8),
        ),
        backbone=TransformerSettings(
            config.get("hidden_size", 1024),
            config.get("intermediate_size", 4096),
            config.get("num_hidden_layers", 12),
            heads,
            config.get("head_dim") or config.get("hidden_size", 1024) // heads,
        ),
        encoder_width=config.get("encoder_hidden_size", 48),
        ratios=tuple(config.get("downsampling_ratios", (2, 2, 4, 4, 5))),
        levels=tuple(config.get("quantization_levels", (4,) * 8)),
    )
