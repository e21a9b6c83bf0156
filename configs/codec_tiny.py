"""A small codec of X-Codec 2.0's architecture, to try things with: minutes on two CPU cores.

    codecbwe train --config=configs/codec_tiny.py --workdir=runs/codec --config.data.path=DIR

Reconstruction losses alone, straight through the quantiser. The semantic encoder keeps its random
weights, as the real one keeps its trained ones. What it decodes is a whisper that follows its input
in loudness, rhythm and formants; it has no pitch: for work, take the published weights.

Variants (`configs/codec_tiny.py:VARIANT`):
  (none)  three minutes on two cores.
  quick   what the demo trains, in two: loudness, rhythm and the kind of sound, no formants.
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import base


def codec_tiny(config: ConfigDict) -> None:
    base.tiny(config, steps=3000)
    config.system = ConfigDict({"name": "codec", "family": "xcodec2", "output_rate": 16000})
    config.system.compute_dtype = "float32"
    config.system.semantic = ConfigDict(
        {
            "size": 128,
            "layers": 1,
            "heads": 4,
            "intermediate": 128,
            "features": 160,
            "kernel_size": 31,
            "left": 64,
            "right": 8,
        }
    )
    config.system.backbone = ConfigDict(
        {"size": 128, "intermediate": 256, "layers": 2, "heads": 4, "head_size": 32}
    )
    # few channels and large strides first: time goes into what runs at the full rate
    config.system.encoder_width = 4
    config.system.ratios = (8, 8, 5)
    config.system.levels = (4, 4, 4, 4, 4, 4, 4, 4)

    config.objective.reduction = "sum"
    config.objective.losses = ConfigDict(
        {
            "multi_scale_mel": {
                "weight": 1.0,
                "windows": (512, 1024, 2048),
                "n_mels": (20, 40, 80),
                "f_min": (0.0, 0.0, 0.0),
                "f_max": (8000.0, 8000.0, 8000.0),
            },
            # no spectral convergence: relative to near silence it would outweigh all else
            "multi_resolution_stft": {"weight": 1.0, "weight_sc": 0.0},
            "waveform_l1": {"weight": 1.0},
            "code_spread": {"weight": 0.02},
        }
    )
    config.optimizers.default.update(
        {
            "learning_rate": 3e-3,
            "weight_decay": 0.0,
            "warmup_steps": 100,
            "decay": 0.9992,
            "rates": (("^semantic_encoder/", 0.0),),
        }
    )
    config.data.segment_samples = 10240
    config.data.lowpass = ("soxr_hq",)
    config.data.gain_db = (-6.0, 6.0)
    config.data.balance_speakers = False
    config.train.batch_size = 2
    config.train.log_every = 100
    config.train.ema_decay = 0.99
    config.checkpoint.every = 1000
    config.checkpoint.keep_last = 1
    config.checkpoint.best = ""
    config.evaluators.valid.every = 1000
    config.evaluators.valid.clips = 8


def quick(config: ConfigDict) -> None:
    del config.objective.losses.code_spread
    config.optimizers.default.decay = 0.9985
    # slower before the quantiser: its tanh saturates, and few tokens remain in use
    config.optimizers.default.rates = (
        ("^semantic_encoder/", 0.0),
        ("^acoustic_decoder/", 1.0),
        ("^quantizer/project_in/", 0.01),
        ("", 0.05),
    )
    config.train.steps = 1600
    config.checkpoint.every = 400
    config.evaluators.valid.every = 800


get_config = Recipe([base.run, base.lowpass, codec_tiny, Variant("quick", quick)])
