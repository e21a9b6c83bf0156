"""UniverSR: a flow on the missing bins of a compressed spectrum, 8, 12, 16 or 24 -> 48 kHz.

    codecbwe train --config=configs/universr.py --workdir=runs/universr --config.data.path=DIR

Variants (`configs/universr.py:VARIANT`): words with "_" between them.
  codec       on a codec's own output, 16 kHz, in place of low-passed recordings.
  neucodec    the same on a codec that decodes to 24 kHz.
  100hz       100 frames a second, two for each token of a codec, in place of 93.75.
  tiny        what trains in minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from codecbwe_jax.data.lowpass import LOWPASSES
from codecbwe_jax.fields import defaults
from codecbwe_jax.objectives.flow_matching import FlowMatchingSettings
from codecbwe_jax.recipes import Recipe, Variant

from . import base, post_hoc


def universr(config: ConfigDict) -> None:
    config.system = ConfigDict({"name": "universr", "input_rate": 16000})
    config.sampling = ConfigDict({"steps": 4, "solver": "midpoint", "guidance": 1.5})
    config.objective = ConfigDict({"name": "flow_matching", **defaults(FlowMatchingSettings)})
    config.objective.dropped = 0.1
    # woongzip1/UniverSR: no weight decay, no clipping, no average; its rate falls as a cosine over
    # five million steps, its batch is 4
    config.optimizers.default.update(
        {
            "learning_rate": 2e-4,
            "betas": (0.9, 0.99),
            "weight_decay": 0.0,
            "clip_norm": 0.0,
            "warmup_steps": 10_000,
        }
    )
    config.data.input = "lowpass"
    config.data.update({"segment_samples": 32256, "lowpass": tuple(LOWPASSES)})
    config.train.update({"batch_size": 4, "ema_decay": 0.0})
    config.checkpoint.best = "valid/lsd_high"


def aligned(config: ConfigDict) -> None:
    config.system.update({"n_fft": 960, "hop_length": 480, "known": (80, 120, 160, 240)})
    config.data.segment_samples = 30240


def tiny(config: ConfigDict) -> None:
    base.tiny_codec(config)
    config.system.update({"dims": (16, 32), "depths": (1, 1), "time_size": 32})
    config.system.update({"condition_size": 32, "condition_layers": 1})
    config.optimizers.default.update(
        {"learning_rate": 1e-3, "clip_norm": 1.0, "warmup_steps": 50, "decay": 0.998}
    )
    config.train.update({"steps": 1000, "batch_size": 2, "log_every": 50, "ema_decay": 0.98})
    config.checkpoint.every = 500
    config.evaluators.valid.update({"every": 500, "clips": 4, "seconds": 2.0, "media": 1})


get_config = Recipe(
    [
        base.run,
        base.lowpass,
        base.codec,
        universr,
        Variant("codec", post_hoc.codec),
        Variant("neucodec", post_hoc.neucodec),
        Variant("100hz", aligned),
        Variant("tiny", tiny),
    ]
)
