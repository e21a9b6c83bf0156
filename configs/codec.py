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
from codecbwe_jax.recipes import Recipe, Variant


def xcodec2(config: ConfigDict) -> None:
    sizes = CodecSettings(family="xcodec2", output_rate=16000)
    config.system = ConfigDict({"name": "codec", **dataclasses.asdict(sizes)})


def neucodec(config: ConfigDict) -> None:
    config.system.family = "neucodec"
    config.system.output_rate = 24000


def at_25_hz(config: ConfigDict) -> None:
    config.system.output_rate = 24000
    config.system.pooling = 2


get_config = Recipe(
    [
        xcodec2,
        Variant("xcodec2"),
        Variant("neucodec", neucodec, against=["xcodec2"]),
        Variant("25hz", at_25_hz, needs=["xcodec2"]),
    ]
)
