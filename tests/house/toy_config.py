"""The toy's recipe."""

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    config = load_config("configs/base.py:lowpass").unlock()
    config.system = ConfigDict({"name": "toy"})
    config.sampling = ConfigDict({"seed": 0, "steps": 2})
    config.objective = ConfigDict({"name": "self_taught", "decay": 0.5})
    config.optimizers.default.update({"learning_rate": 1e-2, "warmup_steps": 0})
    config.data.update({"segment_samples": 3200, "lowpass": ("soxr_hq",)})
    config.train.update({"steps": 4, "batch_size": 8, "log_every": 1, "ema_decay": 0.5})
    config.checkpoint.update({"every": 2, "best": ""})
    config.evaluators.valid.update({"every": 2, "clips": 1, "seconds": 0.5, "media": 0})
    config.evaluators.valid.sampling = ConfigDict({"steps": 1})
    return config
