"""HiFi-GAN+ (Su, Wang, Finkelstein, Jin, ICASSP 2021; brentspell/hifi-gan-bwe), 16 -> 48 kHz.

    codecbwe train --config=configs/hifi_gan_bwe.py --workdir=runs/hifi_gan_bwe \
        --config.data.path=VCTK

Variants (`configs/hifi_gan_bwe.py:VARIANT`): words with "_" between them.
  (none)      the reimplementation's recipe: 100 k steps of content losses, then critics.
  codec, neucodec, tiny, 32k   words of configs/post_hoc.py: its recipe, on equal terms with other
              systems.
  house       that recipe without any of these words.
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import post_hoc


def hifi_gan_bwe(config: ConfigDict) -> None:
    config.system.name = "hifi_gan_bwe"
    config.system.channels = 128
    config.system.stacks = 2
    config.system.layers = 8
    config.system.dilation_base = 3
    config.system.resampler = "kaiser16"


def tiny(config: ConfigDict) -> None:
    config.system.channels = 24
    config.system.stacks = 1
    config.system.layers = 6


def original(config: ConfigDict) -> None:
    config.objective.adversarial = "least_squares"
    config.objective.losses = ConfigDict(
        {
            "waveform_l1": {"weight": 1.0},
            "log_stft": {"weight": 1.0, "windows": (512, 1024, 2048, 4096)},
            # from 4 kHz: half of the lowest input rate of the original
            "log_mel": {
                "weight": 1.0,
                "n_fft": 2048,
                "hop_length": 480,
                "win_length": 1200,
                "n_mels": 128,
                "f_min": 4000.0,
                "scale": "htk",
                "floor": 0.0,
                "offset": 1e-5,
            },
        }
    )
    config.objective.critics = ConfigDict(
        {
            "hifi_gan_plus": {
                "channels": (16, 64, 256, 1024, 1024, 1024),
                "groups": (1, 4, 16, 64, 256, 1),
                "mel_channels": 64,
                "dtype": "float32",
                # one mean over true and false scores: half of the usual sum
                "weight": 0.5,
                "adversarial": 1.0,
                "feature_matching": 1.0,
            }
        }
    )
    config.objective.adversarial_from = 100_000
    config.objective.ramp_steps = 0
    config.objective.generator_every = 2
    config.optimizers.default.update(
        {
            "learning_rate": 1e-3,
            "betas": (0.9, 0.999),
            "weight_decay": 0.0,
            "clip_norm": 0.0,
            "decay": 1.0,
        }
    )
    # with critics, the generator goes on at a hundredth
    config.optimizers.generator = ConfigDict(config.optimizers.default.to_dict())
    config.optimizers.generator.decay = 0.01
    config.optimizers.generator.decay_every = 100_000
    config.data.lowpass = ("torchaudio",)
    config.data.source_rates = (8000, 16000, 24000)
    config.data.gain_db = (0.0, 0.0)
    config.train.steps = 200_000
    config.train.batch_size = 4
    config.train.ema_decay = 0.0


get_config = Recipe(
    [
        *post_hoc.get_config.steps,
        hifi_gan_bwe,
        Variant("tiny", tiny),
        Variant("house"),
        Variant("", original),
    ]
)
