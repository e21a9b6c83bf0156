"""High-band residual: the interpolated input, kept, plus what it lacks, 16 -> 32 or 48 kHz, or
24 -> 48 kHz.

    codecbwe train --config=configs/high_band.py:codec --workdir=runs/high_band \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/high_band.py:VARIANT`): words with "_" between them: `tiny`, `codec` and
`neucodec` of configs/post_hoc.py, whose recipe this is, and
  48k         output rate (none: 32 kHz, where most of what is audible lies; with neucodec it is
              always 48, twice the input's).
  pqmf        bands of a filter bank in place of the bins of one spectrum.
"""

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    words = variant.split("_") if variant else []
    shared = [word for word in words if word not in ("48k", "pqmf")]
    wide = {"48k", "neucodec"} & set(words)
    rest = "_".join([*shared, *([] if wide else ["32k"])])
    config = load_config(f"{Path(__file__).with_name('post_hoc.py')}:{rest}").unlock()
    tiny = "tiny" in words
    config.system.name = "high_band"
    config.system.synthesis = "pqmf" if "pqmf" in words else "stft"
    config.system.size = 128 if tiny else 384
    config.system.intermediate = 256 if tiny else 1152
    config.system.layers = 4 if tiny else 8
    config.system.gain = 1.0
    # above, what made the input narrow decides what is there: filters differ, a codec is one
    config.system.seen = 1.0 if {"codec", "neucodec"} & set(words) else 0.9
    if tiny:
        # alone it is quick: three minutes on one core
        config.train.steps = 1000
        config.checkpoint.every = config.evaluators.valid.every = 500
    return config
