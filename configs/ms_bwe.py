"""Multi-stage extension along a ladder of rates, 16 -> 24 -> 48 kHz and others (arXiv 2406.02250).

    codecbwe train --config=configs/ms_bwe.py:codec --workdir=runs/ms_bwe \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/ms_bwe.py:VARIANT`): words of configs/post_hoc.py, with AP-BWE's losses beside
its recipe, and
  8k          all stages from 8 kHz up; one model then takes 8, 12, 16 and 24 kHz.
"""

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config


def get_config(variant: str = "") -> ConfigDict:
    words = variant.split("_") if variant else []
    if {"8k", "neucodec"} <= set(words):
        raise ValueError("8k and neucodec: that codec decodes to 24 kHz, not to 8")
    rest = "_".join(word for word in words if word != "8k")
    config = load_config(f"{Path(__file__).with_name('post_hoc.py')}:{rest}").unlock()
    tiny = "tiny" in words
    config.system.name = "ms_bwe"
    if "8k" in words:
        config.system.input_rate = 8000
    config.system.channels = 96 if tiny else 256
    config.system.layers = 3 if tiny else 4
    config.system.n_fft = 320 if tiny else 1024
    config.system.hop_length = 80
    config.system.win_length = 320
    # share of a frame's largest magnitude up to which a bin is empty and has phase 0
    config.system.phase_floor = 1e-3
    # a quarter of the training begins with true lower bands
    config.system.teacher_samples = 100_000 * 16 if not tiny else 150 * 4
    config.objective.losses.amplitude = ConfigDict({"weight": 1.0 if tiny else 45.0})
    if not tiny and config.data.input == "lowpass":
        # a codec's phases are not those of the recording: what compares them learns nothing
        config.objective.losses.phase = ConfigDict({"weight": 100.0})
        config.objective.losses.complex = ConfigDict({"weight": 90.0})
    return config
