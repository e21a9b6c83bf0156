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

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config

BANDS = {"2x12": (2, "24k"), "2x16": (2, "32k"), "3x16": (3, "48k"), "4x12": (4, "48k")}


def get_config(variant: str = "") -> ConfigDict:
    words = variant.split("_") if variant else []
    layout = next((word for word in words if word in BANDS), "3x16")
    if set(words) - {"tiny", layout} or len(words) > 2:
        raise ValueError(f"unknown variant {variant!r}; there are tiny, {', '.join(BANDS)}")
    bands, rate = BANDS[layout]
    size = "tiny_" if "tiny" in words else ""
    config = load_config(f"{Path(__file__).with_name('native_istft.py')}:{size}{rate}").unlock()
    for field in ("n_fft", "widening"):
        del config.system[field]
    config.system.update({"name": "native_multiband", "bands": bands, "taps": 62})
    # "filtered": the trained head's rows times the bands' filters; or "scratch"
    config.system.head_init = "filtered"
    # what the bands fold into each other
    config.objective.losses.subband_stft = ConfigDict(
        {"weight": 1.0, "bands": bands, "weight_sc": 0.0}
    )
    return config
