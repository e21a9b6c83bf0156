"""The demo's two recipes with networks and losses whose steps compile in seconds."""

from ml_collections import ConfigDict

from codecbwe_jax import demo
from codecbwe_jax.config import load_config


def get_config(variant: str) -> ConfigDict:
    config = load_config({"codec": demo.CODEC_CONFIG, "ap_bwe": demo.CONFIG}[variant]).unlock()
    losses = config.objective.losses
    if variant == "codec":
        config.system.update({"encoder_width": 2, "ratios": (16, 20)})
        config.system.semantic.update({"size": 32, "intermediate": 48, "kernel_size": 5})
        config.system.backbone.update({"size": 64, "intermediate": 80, "layers": 1})
        losses.multi_scale_mel.update({"windows": (512,), "n_mels": (20,)})
        losses.multi_scale_mel.update({"f_min": (0.0,), "f_max": (8000.0,)})
    else:
        config.system.update({"channels": 32, "layers": 1})
        losses.upper_band_mel.windows = (512,)
    losses.multi_resolution_stft.update({"fft_sizes": (512,), "hop_lengths": (128,)})
    return config
