"""Opus' blind bandwidth extension for streams, 16 -> 48 or 32 kHz (arXiv 2412.11392).

    codecbwe train --config=configs/opus_bbwe.py:codec --workdir=runs/opus_bbwe \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/opus_bbwe.py:VARIANT`): words of configs/post_hoc.py, whose recipe this is. At
32 kHz the network ends after its second filter (ours; the original has 48 kHz alone).
"""

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    config = load_config(f"{Path(__file__).with_name('post_hoc.py')}:{variant}").unlock()
    config.system.name = "opus_bbwe"
    config.system.size = 128
    config.system.taps = (15, 25, 15)
    # the original's, against Adam's own on a recurrent network
    config.optimizers.default.learning_rate = 5e-4 if "tiny" not in variant else 2e-3
    return config
