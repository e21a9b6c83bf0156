"""Sizes of the published codecs, for `codecbwe convert`.

    codecbwe convert --config=configs/codec.py:xcodec2 --weights=model.safetensors --output=DIR

Variants (`configs/codec.py:VARIANT`):
  xcodec2       X-Codec 2.0: 16 kHz in and out, 50 tokens a second (zhenye234/X-Codec-2.0).
  neucodec      NeuCodec: 24 kHz out. Its file lacks the semantic encoder: --semantic=W2V_BERT.
  xcodec2_25hz  25 tokens a second, 24 kHz out (malaysia-ai/X-Codec-2.0-25TPS-24k).

A transformers folder of X-Codec 2.0 or NeuCodec needs no conversion: every command takes it.
"""

from ml_collections import ConfigDict

CODECS = {
    "xcodec2": {"family": "xcodec2", "output_rate": 16000},
    "neucodec": {"family": "neucodec", "output_rate": 24000},
    "xcodec2_25hz": {"family": "xcodec2", "output_rate": 24000, "pooling": 2},
}


def get_config(variant: str = "xcodec2") -> ConfigDict:
    variant = variant or "xcodec2"
    if variant not in CODECS:
        raise ValueError(f"unknown variant {variant!r}; there are {', '.join(CODECS)}")
    config = ConfigDict()
    config.system = ConfigDict({"name": "codec", **CODECS[variant]})
    config.system.compute_dtype = "float32"
    # sizes, if they are not the published ones
    config.system.semantic = ConfigDict(
        {
            "size": 1024,
            "layers": 16,
            "heads": 16,
            "intermediate": 4096,
            "features": 160,
            "kernel_size": 31,
            "left": 64,
            "right": 8,
        }
    )
    config.system.backbone = ConfigDict(
        {"size": 1024, "intermediate": 4096, "layers": 12, "heads": 16, "head_size": 64}
    )
    config.system.encoder_width = 48
    config.system.ratios = (2, 2, 4, 4, 5)
    config.system.levels = (4, 4, 4, 4, 4, 4, 4, 4)
    return config
