"""Native decoder with an ISTFT for each stream and trained synthesis filters.

    codecbwe train --config=configs/native_multistream.py:3x16 --workdir=runs/multistream \
        --config.data.path=DIR --config.data.codec=CODEC

Variants: as configs/native_multiband.py, whose recipe this is without the losses on bands: streams
are whatever training makes of them.
"""

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    base = Path(__file__).with_name("native_multiband.py")
    config = load_config(f"{base}:{variant}").unlock()
    config.system.name = "native_multistream"
    del config.objective.losses.subband_stft
    return config
