"""`micro_config.py` with a critic."""

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    config = load_config("tests/training/micro_config.py").unlock()
    weights = {"weight": 1.0, "adversarial": 1.0, "feature_matching": 1.0}
    shape = {"periods": (3,), "channels": (2, 2), "skip_first_map": True, "dtype": "float32"}
    config.objective.critics = ConfigDict({"mpd": weights | shape})
    config.objective.adversarial_from = 3
    config.objective.ramp_steps = 0
    return config
