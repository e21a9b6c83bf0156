"""Native decoder of two paths: a head at half the rate, a Snake upsampler and a head above it.

    codecbwe train --config=configs/native_upsampled.py --workdir=runs/upsampled \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/native_upsampled.py:VARIANT`): 32k, 44k, 48k (none: this), tiny, or both as in
`tiny_48k`; see configs/native_istft.py, whose recipe this is.
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe

from . import native_istft


def native_upsampled(config: ConfigDict) -> None:
    for field in ("n_fft", "magnitude_clip", "widening"):
        del config.system[field]
    config.system.name = "native_upsampled"
    # the codec's own head below, the new one above; a path at 16 kHz ends at 8 kHz
    config.system.crossover_hz = 8000.0 if config.system.output_rate > 32000 else 7000.0
    # "equal_hz" or "scratch"
    config.system.head_init = "equal_hz"


# the lower path has half the rate, 16 kHz or more
get_config = Recipe([*native_istft.get_config.without("24k"), native_upsampled])
