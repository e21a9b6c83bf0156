"""Native decoder of two paths: a head at half the rate, a Snake upsampler and a head above it.

    codecbwe train --config=configs/native_upsampled.py --workdir=runs/upsampled \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/native_upsampled.py:VARIANT`): 32k, 44k, 48k (none: this), tiny, or both as in
`tiny_48k`; see configs/native_istft.py, whose recipe this is.
"""

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    base = Path(__file__).with_name("native_istft.py")
    config = load_config(f"{base}:{variant}").unlock()
    for field in ("n_fft", "magnitude_clip", "widening"):
        del config.system[field]
    config.system.name = "native_upsampled"
    rate = config.system.output_rate
    if rate < 32000:
        raise ValueError(f"{rate} Hz: the lower path has half the rate, 16000 Hz or more")
    # the codec's own head below, the new one above; a path at 16 kHz ends at 8 kHz
    config.system.crossover_hz = 8000.0 if rate > 32000 else 7000.0
    # "equal_hz" or "scratch"
    config.system.head_init = "equal_hz"
    return config
