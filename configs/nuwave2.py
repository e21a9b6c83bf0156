"""NU-Wave 2 (Han, Lee, Interspeech 2022; maum-ai/nuwave2): inputs of many rates -> 48 kHz.

    codecbwe train --config=configs/nuwave2.py --workdir=runs/nuwave2 --config.data.path=VCTK

Variants (`configs/nuwave2.py:VARIANT`): words with "_" between them.
  codec       on a codec's own output, 16 kHz, in place of recordings of many bandwidths.
  neucodec    the same on a codec that decodes to 24 kHz.
  tiny        what trains in minutes on two CPU cores, for 16 kHz.
"""

from ml_collections import ConfigDict

from codecbwe_jax.fields import defaults
from codecbwe_jax.objectives.diffusion import DiffusionSettings
from codecbwe_jax.recipes import Recipe, Variant

from . import base, post_hoc


def nuwave2(config: ConfigDict) -> None:
    config.system = ConfigDict({"name": "nuwave2", "input_rate": 16000, "output_rate": 48000})
    config.system.update({"n_fft": 1024, "hop_length": 256, "layers": 15, "channels": 64})
    # "bfloat16" on TPU and GPU; spectra, phases and the loss stay float32
    config.system.compute_dtype = "float32"
    config.objective = ConfigDict({"name": "diffusion", **defaults(DiffusionSettings)})
    # the original's Adam has an epsilon of 1e-9; all runs here have 1e-8
    config.optimizers.default.update(
        {
            "learning_rate": 2e-4,
            "betas": (0.9, 0.99),
            "weight_decay": 0.0,
            "clip_norm": 0.5,
            "decay": 1.0,
        }
    )
    # the original draws any cut-off from 3 kHz, and the order of a Chebyshev low-pass
    config.data.input = "lowpass"
    config.data.lowpass = ("random_iir",)
    config.data.source_rates = (6000, 8000, 12000, 16000, 24000, 32000, 44100)
    # the original's 32,768 samples, as whole hops that are whole samples at 16 kHz too
    config.data.segment_samples = 32256
    config.data.gain_db = (-6.0, 0.0)
    config.train.steps = 1_000_000
    config.train.batch_size = 12
    config.train.ema_decay = 0.999
    config.checkpoint.best = "valid/lsd_high"


def codec(config: ConfigDict) -> None:
    post_hoc.codec(config)
    config.data.source_rates = ()


def neucodec(config: ConfigDict) -> None:
    codec(config)
    config.system.input_rate = 24000


def tiny(config: ConfigDict) -> None:
    base.tiny(config, steps=1000)
    base.tiny_codec(config)
    config.system.update({"n_fft": 256, "hop_length": 64, "layers": 3, "channels": 16})
    config.system.update({"embedding": 32, "band_channels": 16, "position_channels": 32})
    config.data.source_rates = ()
    config.data.segment_samples = 8064


get_config = Recipe(
    [
        base.run,
        base.lowpass,
        base.codec,
        nuwave2,
        Variant("codec", codec),
        Variant("neucodec", neucodec),
        Variant("tiny", tiny),
    ]
)
