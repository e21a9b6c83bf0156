"""A recipe whose step compiles in seconds, for tests that start many processes."""

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    """Variants are those of configs/high_band.py, with "tiny"."""
    config = load_config(f"configs/high_band.py:tiny_{variant}".rstrip("_")).unlock()
    config.system.update({"size": 8, "intermediate": 8, "layers": 1})
    # bands, no single bins: the gradient of an empty bin's logarithm is rounding noise
    bands = {"windows": (1024,), "n_mels": (20,), "f_min": (0.0,), "f_max": (None,)}
    config.objective.losses = ConfigDict({"multi_scale_mel": {"weight": 1.0, **bands}})
    config.data.segment_samples = 3200
    config.optimizers.default.warmup_steps = 0
    config.train.log_every = 1
    config.evaluators.valid.update({"clips": 1, "seconds": 0.5})
    return config
