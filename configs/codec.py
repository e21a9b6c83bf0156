"""Sizes of the published codecs, for `codecbwe convert`.

    codecbwe convert --config=configs/codec.py:xcodec2 --weights=model.safetensors --output=DIR

Variants (`configs/codec.py:VARIANT`):
  xcodec2       X-Codec 2.0: 16 kHz in and out, 50 tokens a second (zhenye234/X-Codec-2.0).
  neucodec      NeuCodec: 24 kHz out. Its file lacks the semantic encoder: --semantic=W2V_BERT.
  xcodec2_25hz  25 tokens a second, 24 kHz out (malaysia-ai/X-Codec-2.0-25TPS-24k).

A transformers folder of X-Codec 2.0 or NeuCodec needs no conversion: every command takes it.
"""

import dataclasses

from ml_collections import ConfigDict

from codecbwe_jax.codec.settings import CodecSettings

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
    sizes = CodecSettings(**CODECS[variant])
    config.system = ConfigDict({"name": "codec", **dataclasses.asdict(sizes)})
    return config
