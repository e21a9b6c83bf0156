"""What all recipes share; the other files in this folder load it and say what differs.

Every field with its default, what it may be and what it means: `codecbwe config FILE.py:VARIANT`;
they stand in `codecbwe_jax/training/settings.py` and `codecbwe_jax/objectives/gan.py`.

Variants (`configs/base.py:VARIANT`): words with "_" between them.
  lowpass     adds how recordings are made narrow.
  codec       adds the codec whose output, or whose tokens, systems get.
"""

from ml_collections import ConfigDict

from codecbwe_jax.fields import defaults
from codecbwe_jax.objectives.gan import GanSettings
from codecbwe_jax.training import settings


def get_config(variant: str = "") -> ConfigDict:
    words = variant.split("_") if variant else []
    if set(words) - {"lowpass", "codec"}:
        raise ValueError(f"unknown variant {variant!r}; words are lowpass, codec")
    data = defaults(settings.DataSettings)
    if "lowpass" in words:
        data |= defaults(settings.LowpassSettings)
    if "codec" in words:
        data |= defaults(settings.CodecInputSettings)
    valid = {"type": "extension", "every": 5000, "clips": 16, "seconds": 4.0, "media": 3}
    return ConfigDict(
        {
            "system": {},
            # how a system that draws samples; no part of what a model is
            "sampling": {},
            "objective": {"name": "gan", **defaults(GanSettings)},
            # "default" is for every parameter group; an entry with a group's name ("generator",
            # "mpd") replaces it
            "optimizers": {"default": defaults(settings.OptimizerSettings)},
            "data": data,
            "train": defaults(settings.TrainSettings),
            "checkpoint": defaults(settings.CheckpointSettings),
            "profile": defaults(settings.ProfileSettings),
            "evaluators": {"valid": valid},
        }
    )
