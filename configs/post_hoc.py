"""The recipe of post-hoc systems: a narrow waveform to a wide one. Others build on it.

Variants (`configs/post_hoc.py:VARIANT`): words with "_" between them.
  codec       on a codec's own output; without it on low-passed recordings.
  neucodec    the same on a codec that decodes to 24 kHz, as NeuCodec does.
  32k         output rate (none: 48k).
  tiny        what trains in minutes on two CPU cores.
"""

from functools import partial

from ml_collections import ConfigDict

from codecbwe_jax.data.lowpass import LOWPASSES
from codecbwe_jax.recipes import Recipe, Variant

from . import base


def post_hoc(config: ConfigDict) -> None:
    config.system = ConfigDict({"input_rate": 16000, "output_rate": 48000})
    # "bfloat16" on TPU and GPU where a system is large; spectra and losses stay float32
    config.system.compute_dtype = "float32"

    config.objective.losses = ConfigDict(
        {
            # no spectral convergence: relative to near silence it would outweigh all else
            "multi_resolution_stft": {"weight": 5.0, "weight_sc": 0.0},
            # mel bins from 1 kHz below the input's edge up: a full-band mel scale gives the new
            # band a quarter of its bins
            "upper_band_mel": {"weight": 15.0},
        }
    )
    config.objective.critics = ConfigDict(
        {
            "dac": {
                "period_channels": (32, 128, 512, 1024, 1024),
                "channels": 32,
                "dtype": "float32",
                "weight": 1.0,
                "adversarial": 1.0,
                "feature_matching": 2.0,
            },
        }
    )
    # 0-20 k reconstruction, a ramp to 100 k, full to 400 k
    config.objective.adversarial_from = 20_000
    config.objective.ramp_steps = 80_000

    config.data.input = "lowpass"
    config.data.segment_samples = 48000
    config.data.lowpass = tuple(LOWPASSES)
    config.data.gain_db = (-12.0, 6.0)
    config.checkpoint.best = "valid/lsd_high"


def codec(config: ConfigDict) -> None:
    config.data.input = "codec_online"


def neucodec(config: ConfigDict) -> None:
    codec(config)
    config.system.input_rate = 24000


def tiny(config: ConfigDict) -> None:
    base.tiny(config, steps=600)
    base.tiny_codec(config)
    config.objective.losses.multi_resolution_stft.weight = 1.0
    config.objective.losses.upper_band_mel.weight = 1.0
    config.data.segment_samples //= 2


get_config = Recipe(
    [
        base.run,
        base.lowpass,
        base.codec,
        post_hoc,
        Variant("codec", codec),
        Variant("neucodec", neucodec),
        Variant("32k", partial(base.at_rate, rate=32000)),
        Variant("tiny", tiny),
    ]
)
