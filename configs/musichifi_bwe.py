"""MusicHiFi-BWE: BigVGAN on log-mels beside the interpolated input, 16 -> 48 or 32 kHz or
24 -> 48 kHz (arXiv 2403.10493).

    codecbwe train --config=configs/musichifi_bwe.py:codec --workdir=runs/musichifi \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/musichifi_bwe.py:VARIANT`): words of configs/post_hoc.py, whose recipe this is,
with the paper's least squares and log-mels, and
  light       a quarter of the computation, for CPUs.
  paper       its weights, segments and steps too: log-mels at 360, critics from the beginning.
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import post_hoc


def musichifi_bwe(config: ConfigDict) -> None:
    # output samples of a hop of 80: 240 at three times the input's rate, 160 at twice
    wide = config.system.output_rate == 3 * config.system.input_rate
    config.system.name = "musichifi_bwe"
    config.system.channels = 512
    config.system.up_factors = (6, 5, 2, 2, 2) if wide else (5, 4, 2, 2, 2)
    config.system.up_kernels = (12, 11, 4, 4, 4) if wide else (11, 8, 4, 4, 4)
    config.system.kernels = (3, 7, 11)
    config.system.dilations = ((1, 3, 5),) * 3
    config.system.n_fft = 512
    config.system.hop_length = 80
    config.system.n_mels = 64
    config.objective.adversarial = "least_squares"
    config.objective.losses.multi_scale_mel = ConfigDict({"weight": 15.0})
    # the generator alone has a basis that must stand still
    config.optimizers.generator = ConfigDict(config.optimizers.default.to_dict())
    config.optimizers.generator.rates = (("^mel_basis", 0.0),)


def light(config: ConfigDict) -> None:
    config.system.channels = 256


def paper(config: ConfigDict) -> None:
    config.objective.losses = ConfigDict({"multi_scale_mel": {"weight": 360.0}})
    config.objective.critics.dac.feature_matching = 1.0
    config.objective.adversarial_from = 0
    config.objective.ramp_steps = 0
    # BigVGAN's
    for optimizer in config.optimizers.values():
        optimizer.learning_rate = 1e-4
    # the paper's 16 384 in whole tokens of a codec
    config.data.segment_samples = 16_320
    config.train.steps = 500_000
    config.train.batch_size = 45


def tiny(config: ConfigDict) -> None:
    config.system.channels = 64
    config.system.kernels = (3, 7)
    config.system.dilations = ((1, 3),) * 2
    del config.objective.losses.multi_scale_mel


get_config = Recipe(
    [
        *post_hoc.get_config.steps,
        musichifi_bwe,
        Variant("light", light),
        Variant("paper", paper, against=["tiny"]),
        Variant("tiny", tiny),
        # it gives twice or three times the input's rate
        Variant("neucodec", against=["32k"]),
    ]
)
