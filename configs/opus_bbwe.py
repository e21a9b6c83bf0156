"""Opus' blind bandwidth extension for streams, 16 -> 48 or 32 kHz (arXiv 2412.11392).

    codecbwe train --config=configs/opus_bbwe.py:codec --workdir=runs/opus_bbwe \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/opus_bbwe.py:VARIANT`): words of configs/post_hoc.py, whose recipe this is. At
32 kHz the network ends after its second filter (ours; the original has 48 kHz alone).
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import post_hoc


def opus_bbwe(config: ConfigDict) -> None:
    config.system.name = "opus_bbwe"
    config.system.size = 128
    config.system.taps = (15, 25, 15)
    # the original's, against Adam's own on a recurrent network
    config.optimizers.default.learning_rate = 5e-4


def tiny(config: ConfigDict) -> None:
    config.optimizers.default.learning_rate = 2e-3


get_config = Recipe([*post_hoc.get_config.steps, opus_bbwe, Variant("tiny", tiny)])
