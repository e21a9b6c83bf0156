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

from functools import partial

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import base, post_hoc


def high_band(config: ConfigDict) -> None:
    base.at_rate(config, 32000)
    config.system.name = "high_band"
    config.system.synthesis = "stft"
    config.system.size = 384
    config.system.intermediate = 1152
    config.system.layers = 8
    config.system.gain = 1.0
    # above, what made the input narrow decides what is there: filters differ, a codec is one
    config.system.seen = 0.9 if config.data.input == "lowpass" else 1.0


def pqmf(config: ConfigDict) -> None:
    config.system.synthesis = "pqmf"


def tiny(config: ConfigDict) -> None:
    # alone it is quick: three minutes on one core
    base.tiny(config, steps=1000)
    config.system.size = 128
    config.system.intermediate = 256
    config.system.layers = 4


wide = partial(base.at_rate, rate=48000)

get_config = Recipe(
    [
        *post_hoc.get_config.steps,
        high_band,
        Variant("48k", wide, against=["32k"]),
        Variant("neucodec", wide, against=["32k"]),
        Variant("pqmf", pqmf),
        Variant("tiny", tiny),
    ]
)
