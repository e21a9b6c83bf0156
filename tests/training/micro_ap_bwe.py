"""AP-BWE's tiny recipe with fewer parts in its critics, so that their step compiles in seconds."""

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    config = load_config("configs/ap_bwe.py:tiny").unlock()
    critics = config.objective.critics
    critics.mpd.periods = (2, 3)
    critics.mrad.resolutions = critics.mrpd.resolutions = ((512, 128, 512),)
    return config
