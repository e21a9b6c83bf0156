"""Native decoder with an ISTFT for each band, joined by a PQMF: the codec's tokens to 24-48 kHz.

    codecbwe train --config=configs/native_multiband.py:3x16 --workdir=runs/multiband \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/native_multiband.py:VARIANT`): bands x kHz, `tiny`, or both as in `tiny_2x16`.
  2x12        24 kHz.
  2x16        32 kHz; the first band starts as the codec's own head.
  3x16        48 kHz, likewise (none: this).
  4x12        48 kHz with the smallest ISTFT; the codec's head is cut at 6 kHz.
  tiny        see configs/native_istft.py, whose recipe this is.
"""

from functools import partial

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import base, native_istft

BANDS = {"2x12": 2, "2x16": 2, "3x16": 3, "4x12": 4}
RATES = {"2x12": 24000, "2x16": 32000, "3x16": 48000, "4x12": 48000}


def native_multiband(config: ConfigDict) -> None:
    for field in ("n_fft", "widening"):
        del config.system[field]
    config.system.update({"name": "native_multiband", "bands": 3, "taps": 62})
    # "filtered": the trained head's rows times the bands' filters; or "scratch"
    config.system.head_init = "filtered"
    # what the bands fold into each other
    config.objective.losses.subband_stft = ConfigDict({"weight": 1.0, "bands": 3, "weight_sc": 0.0})


def layout(config: ConfigDict, name: str) -> None:
    base.at_rate(config, RATES[name])
    config.system.bands = config.objective.losses.subband_stft.bands = BANDS[name]


get_config = Recipe(
    [
        *native_istft.get_config.without(*native_istft.RATES, *native_istft.BACKBONES),
        native_multiband,
        *(Variant(name, partial(layout, name=name), against=BANDS) for name in BANDS),
    ]
)
