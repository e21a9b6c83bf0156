"""A causal U-Net for streams, 16 -> 48 or 32 kHz (after EUSIPCO 2023, BBWEXNet).

    codecbwe train --config=configs/bbwexnet.py:codec --workdir=runs/bbwexnet \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/bbwexnet.py:VARIANT`): words with "_" between them: those of
configs/post_hoc.py, whose recipe this is, and
  small       a quarter of the parameters and of the time.
  nsvq        256 codes at the bottleneck.
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import post_hoc


def bbwexnet(config: ConfigDict) -> None:
    config.system.name = "bbwexnet"
    config.system.widths = (16, 32, 64, 128, 160)
    config.system.bottleneck = 64
    config.system.codes = 0
    config.system.replace_every = 1000
    config.objective.losses.waveform_l1 = ConfigDict({"weight": 1.0})


def small(config: ConfigDict) -> None:
    config.system.widths = (8, 16, 32, 64, 96)
    config.system.bottleneck = 32


def nsvq(config: ConfigDict) -> None:
    config.system.codes = 256


def tiny(config: ConfigDict) -> None:
    config.system.replace_every = 50


get_config = Recipe(
    [
        *post_hoc.get_config.steps,
        bbwexnet,
        Variant("small", small),
        Variant("nsvq", nsvq),
        Variant("tiny", tiny),
    ]
)
