"""A causal U-Net for streams, 16 -> 48 or 32 kHz (after EUSIPCO 2023, BBWEXNet).

    codecbwe train --config=configs/bbwexnet.py:codec --workdir=runs/bbwexnet \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/bbwexnet.py:VARIANT`): words with "_" between them: those of
configs/post_hoc.py, whose recipe this is, and
  small       a quarter of the parameters and of the time.
  nsvq        256 codes at the bottleneck.
"""

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    words = variant.split("_") if variant else []
    rest = "_".join(word for word in words if word not in ("small", "nsvq"))
    config = load_config(f"{Path(__file__).with_name('post_hoc.py')}:{rest}").unlock()
    config.system.name = "bbwexnet"
    config.system.widths = (8, 16, 32, 64, 96) if "small" in words else (16, 32, 64, 128, 160)
    config.system.bottleneck = 32 if "small" in words else 64
    config.system.codes = 256 if "nsvq" in words else 0
    config.system.replace_every = 1000 if "tiny" not in words else 50
    config.objective.losses.waveform_l1 = ConfigDict({"weight": 1.0})
    return config
