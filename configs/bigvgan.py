"""BigVGAN as FLowHigh has it: log-mels to their waveform, at 48 kHz (arXiv 2206.04658).

    codecbwe train --config=configs/bigvgan.py --workdir=runs/bigvgan --config.data.path=DIR

Critics, losses, segments and optimiser are those of the original's first version (NVIDIA/BigVGAN),
with the mels that the network sees in the loss too. Nothing is made narrow: input and target are
one recording.

Variants (`configs/bigvgan.py:VARIANT`):
  tiny        what trains in minutes on one CPU core, of reconstruction losses alone.
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import base


def bigvgan(config: ConfigDict) -> None:
    config.system.name = "bigvgan"
    config.system.rate = 48000
    config.system.channels = 512
    config.system.up_factors = (6, 5, 4, 2, 2)
    config.system.up_kernels = (12, 10, 8, 4, 4)
    config.system.kernels = (3, 7, 11)
    config.system.dilations = ((1, 3, 5),) * 3
    # of the mels that it is given
    config.system.n_fft = 2048
    config.system.hop_length = 480
    config.system.n_mels = 256
    # "bfloat16" on TPU and GPU; spectra, Snakes and losses stay float32
    config.system.compute_dtype = "float32"

    config.objective.adversarial = "least_squares"
    config.objective.reduction = "sum"
    mels = {"n_fft": 2048, "hop_length": 480, "n_mels": 256, "f_min": 20.0}
    mels |= {"padding": "same", "power_floor": 1e-9}
    config.objective.losses = ConfigDict({"log_mel": {"weight": 45.0, **mels}})
    judged = {"weight": 1.0, "adversarial": 1.0, "feature_matching": 2.0, "dtype": "float32"}
    config.objective.critics = ConfigDict(
        {
            "mpd": {"channels": (32, 128, 512, 1024, 1024), "skip_first_map": False, **judged},
            "magnitude_stft": {"channels": 32, **judged},
        }
    )
    config.optimizers.default.update(
        {"learning_rate": 1e-4, "betas": (0.8, 0.99), "decay": 0.9999996, "clip_norm": 1000.0}
    )

    # the original's 8192 in whole frames
    config.data.segment_samples = 8160
    config.data.gain_db = (0.0, 0.0)
    config.data.balance_speakers = False
    config.train.steps = 1_000_000
    config.train.batch_size = 32
    config.train.ema_decay = 0.0
    config.checkpoint.best = "valid/lsd"


def tiny(config: ConfigDict) -> None:
    base.tiny(config, steps=450)
    config.system.channels = 64
    config.system.kernels = (3, 7)
    config.system.dilations = ((1, 3),) * 2
    config.system.n_mels = 128
    config.objective.losses.log_mel.weight = 1.0
    # no spectral convergence: relative to near silence it would outweigh all else
    stft = {"weight": 1.0, "weight_sc": 0.0}
    config.objective.losses.multi_resolution_stft = ConfigDict(stft)
    config.data.segment_samples = 24_000


get_config = Recipe([base.run, base.lowpass, bigvgan, Variant("tiny", tiny)])
