"""Native decoder with an ISTFT for each stream and trained synthesis filters.

    codecbwe train --config=configs/native_multistream.py:3x16 --workdir=runs/multistream \
        --config.data.path=DIR --config.data.codec=CODEC

Variants: as configs/native_multiband.py, whose recipe this is without the losses on bands: streams
are whatever training makes of them.
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe

from . import native_multiband


def native_multistream(config: ConfigDict) -> None:
    config.system.name = "native_multistream"
    del config.objective.losses.subband_stft


get_config = Recipe([*native_multiband.get_config.steps, native_multistream])
