"""The columns of an evaluation's table: which figures, and what exactly each is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from codecbwe_jax.evaluation import metrics
from codecbwe_jax.evaluation.visqol import visqol_audio


@dataclasses.dataclass(frozen=True)
class Figure:
    """A column of a report.

    Attributes:
      key: its name in scores.json.
      title: its heading.
      formula: what exactly is computed.
      compute: of (estimate, target, rate in Hz, input's band edge in Hz).
    """

    key: str
    title: str
    formula: str
    compute: Callable[[np.ndarray, np.ndarray, int, float], float]


_LSD = "log10 power, STFT 2048/512 Hann, clamp 1e-8, mean over frames of RMS over bins"
FIGURES = (
    Figure("lsd", "LSD", f"AP-BWE's: {_LSD}", lambda s, t, r, c: metrics.lsd(s, t)),
    Figure("lsd_low", "LSD below the edge", "NU-Wave 2's LSD-LF", metrics.lsd_low),
    Figure("lsd_high", "LSD above the edge", "NU-Wave 2's LSD-HF", metrics.lsd_high),
    Figure(
        "snr", "SNR (dB)", "AP-BWE's: 20 log10 |t| / |s - t|", lambda s, t, r, c: metrics.snr(s, t)
    ),
    Figure(
        "sharpness",
        "Sharpness above the edge",
        "spread of log power about its local mean in frequency, over the target's; 1 is right, "
        "less is smoothed",
        metrics.sharpness,
    ),
    Figure(
        "rumble",
        "Level below 40 Hz (dB)",
        "level from 0 to 40 Hz above the target's",
        lambda s, t, r, c: metrics.band_level_db(s, r, 0, 40) - metrics.band_level_db(t, r, 0, 40),
    ),
    Figure(
        "step",
        "Step at the edge (dB)",
        "level change across the edge (400 Hz on each side) beyond the target's own",
        metrics.crossover_step_db,
    ),
)
# Beside the others where systems are compared with each other.
COMPARED = (
    *(figure for figure in FIGURES if figure.key in ("lsd", "lsd_low", "lsd_high")),
    Figure(
        "lsd_octave",
        "LSD in the octave above the edge",
        "LSD over the bins from the edge to 15/8 of it",
        metrics.lsd_octave,
    ),
    Figure(
        "mr_stft",
        "Multi-resolution STFT",
        "mean |ln difference| of magnitudes over FFTs of 2048, 1024, 512, 256, hops a quarter",
        lambda s, t, r, c: metrics.log_magnitude_distance(s, t),
    ),
    *(figure for figure in FIGURES if figure.key in ("snr", "sharpness", "step")),
)
# Of a system that extends nothing, such as a codec.
RECONSTRUCTION = (
    *(figure for figure in FIGURES if figure.key in ("lsd", "snr", "rumble")),
    Figure(
        "si_sdr",
        "SI-SDR (dB)",
        "scale-invariant signal-to-distortion ratio",
        lambda s, t, r, c: metrics.si_sdr(s, t),
    ),
)
VISQOL = Figure(
    "visqol",
    "ViSQOL",
    "visqol-python, audio mode at 48 kHz (MOS-LQO, 4.73 is identity)",
    lambda s, t, r, c: visqol_audio(s, t, r),
)
