"""Multi-stage extension along a ladder of rates, 16 -> 24 -> 48 kHz and others (arXiv 2406.02250).

    codecbwe train --config=configs/ms_bwe.py:codec --workdir=runs/ms_bwe \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/ms_bwe.py:VARIANT`): words of configs/post_hoc.py, with AP-BWE's losses beside
its recipe, and
  8k          all stages from 8 kHz up; one model then takes 8, 12, 16 and 24 kHz.
"""

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import post_hoc


def ms_bwe(config: ConfigDict) -> None:
    config.system.name = "ms_bwe"
    config.system.channels = 256
    config.system.layers = 4
    config.system.n_fft = 1024
    config.system.hop_length = 80
    config.system.win_length = 320
    # share of a frame's largest magnitude up to which a bin is empty and has phase 0
    config.system.phase_floor = 1e-3
    # a quarter of the training begins with true lower bands
    config.system.teacher_samples = 100_000 * 16
    config.objective.losses.amplitude = ConfigDict({"weight": 45.0})
    if config.data.input == "lowpass":
        # a codec's phases are not those of the recording: what compares them learns nothing
        config.objective.losses.phase = ConfigDict({"weight": 100.0})
        config.objective.losses.complex = ConfigDict({"weight": 90.0})


def from_8_khz(config: ConfigDict) -> None:
    config.system.input_rate = 8000


def tiny(config: ConfigDict) -> None:
    config.system.channels = 96
    config.system.layers = 3
    config.system.n_fft = 320
    config.system.teacher_samples = 150 * 4
    config.objective.losses.amplitude.weight = 1.0
    # in minutes, the phase of noise-like bins cannot be learnt
    for loss in {"phase", "complex"} & set(config.objective.losses):
        del config.objective.losses[loss]


get_config = Recipe(
    [
        *post_hoc.get_config.steps,
        ms_bwe,
        # that codec decodes to 24 kHz, not to 8
        Variant("8k", from_8_khz, against=["neucodec"]),
        Variant("tiny", tiny),
    ]
)
