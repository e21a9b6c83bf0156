"""A recipe whose step compiles in seconds, for tests that start many processes."""

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    config = load_config("configs/high_band.py:tiny").unlock()
    config.system.update({"size": 8, "intermediate": 8, "layers": 1})
    # no phases and no critics: nothing here that roundings could tip over
    config.objective.losses = ConfigDict({"log_stft": {"weight": 1.0, "windows": (512,)}})
    config.data.segment_samples = 3200
    config.train.log_every = 1
    config.evaluators.valid.update({"clips": 1, "seconds": 0.5})
    return config
