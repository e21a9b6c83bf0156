"""What all recipes share: the other files in this folder take steps from here and add their own.

Every field with its default, what it may be and what it means: `codecbwe config FILE.py:VARIANT`;
they stand in `codecbwe_jax/training/settings.py` and `codecbwe_jax/objectives/gan.py`.

Variants (`configs/base.py:VARIANT`): words with "_" between them.
  lowpass     adds how recordings are made narrow.
  codec       adds the codec whose output, or whose tokens, systems get.
"""

from ml_collections import ConfigDict

from codecbwe_jax.fields import defaults
from codecbwe_jax.objectives.gan import GanSettings
from codecbwe_jax.recipes import Recipe, Variant
from codecbwe_jax.training import settings


def run(config: ConfigDict) -> None:
    config.system = ConfigDict()
    # how a system that draws samples; no part of what a model is
    config.sampling = ConfigDict()
    # folders of the trained models that a system is made of, by their names in it
    config.parts = ConfigDict()
    config.objective = ConfigDict({"name": "gan", **defaults(GanSettings)})
    # "default" is for every parameter group; an entry with a group's name ("generator", "mpd")
    # replaces it
    config.optimizers = ConfigDict({"default": defaults(settings.OptimizerSettings)})
    config.data = ConfigDict(defaults(settings.DataSettings))
    config.train = ConfigDict(defaults(settings.TrainSettings))
    config.checkpoint = ConfigDict(defaults(settings.CheckpointSettings))
    config.profile = ConfigDict(defaults(settings.ProfileSettings))
    valid = {"type": "extension", "every": 5000, "clips": 16, "seconds": 4.0, "media": 3}
    config.evaluators = ConfigDict({"valid": valid})


def lowpass(config: ConfigDict) -> None:
    config.data.update(defaults(settings.LowpassSettings))


def codec(config: ConfigDict) -> None:
    config.data.update(defaults(settings.CodecInputSettings))


def at_rate(config: ConfigDict, rate: int) -> None:
    """Another output rate in Hz; a segment keeps its seconds."""
    samples = config.data.segment_samples * rate
    config.data.segment_samples = samples // config.system.output_rate
    config.system.output_rate = rate


def tiny(config: ConfigDict, steps: int) -> None:
    """What recipes for minutes on two CPU cores share; each says what differs."""
    # critics would be compiled for the last few steps only
    if "critics" in config.objective:
        config.objective.critics = ConfigDict()
    optimizer = config.optimizers.get("generator", config.optimizers.default)
    optimizer.update({"learning_rate": 1e-3, "clip_norm": 1.0, "warmup_steps": 50, "decay": 0.998})
    config.train.update({"steps": steps, "batch_size": 4, "log_every": 50, "ema_decay": 0.98})
    config.checkpoint.every = steps // 2
    config.evaluators.valid.update({"every": steps // 2, "clips": 4, "seconds": 2.0, "media": 1})


def tiny_codec(config: ConfigDict) -> None:
    """A small codec, on a CPU, for a tiny recipe."""
    config.data.codec_dtype = "float32"
    config.data.chunk_seconds = 1.0


get_config = Recipe([run, Variant("lowpass", lowpass), Variant("codec", codec)])
