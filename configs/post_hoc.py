"""The recipe of post-hoc systems: a narrow waveform to a wide one. Others load it.

Variants (`configs/post_hoc.py:VARIANT`): words with "_" between them.
  codec       on a codec's own output; without it on low-passed recordings.
  neucodec    the same on a codec that decodes to 24 kHz, as NeuCodec does.
  32k         output rate (none: 48k).
  tiny        what trains in minutes on two CPU cores.
"""

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config
from codecbwe_jax.data.lowpass import LOWPASSES

WORDS = ("tiny", "codec", "neucodec", "32k")


def get_config(variant: str = "") -> ConfigDict:
    words = variant.split("_") if variant else []
    if set(words) - set(WORDS):
        raise ValueError(f"unknown variant {variant!r}; words are {', '.join(WORDS)}")
    config = load_config(f"{Path(__file__).with_name('base.py')}:codec_lowpass").unlock()
    rate = 32000 if "32k" in words else 48000
    narrow = 24000 if "neucodec" in words else 16000
    config.system = ConfigDict({"input_rate": narrow, "output_rate": rate})
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

    config.data.input = "codec_online" if {"codec", "neucodec"} & set(words) else "lowpass"
    config.data.segment_samples = rate
    config.data.lowpass = tuple(LOWPASSES)
    config.data.gain_db = (-12.0, 6.0)
    config.checkpoint.best = "valid/lsd_high"
    if "tiny" in words:
        tiny(config, rate)
    return config


def tiny(config: ConfigDict, rate: int) -> None:
    config.objective.losses.multi_resolution_stft.weight = 1.0
    config.objective.losses.upper_band_mel.weight = 1.0
    # critics would be compiled for the last few steps only
    config.objective.critics = ConfigDict()
    config.optimizers.default.learning_rate = 1e-3
    config.optimizers.default.clip_norm = 1.0
    config.optimizers.default.warmup_steps = 50
    config.optimizers.default.decay = 0.998
    config.data.codec_dtype = "float32"
    config.data.chunk_seconds = 1.0
    config.data.segment_samples = rate // 2
    config.train.steps = 600
    config.train.batch_size = 4
    config.train.log_every = 50
    config.train.ema_decay = 0.98
    config.checkpoint.every = 300
    config.evaluators.valid.update({"every": 300, "clips": 4, "seconds": 2.0, "media": 1})
