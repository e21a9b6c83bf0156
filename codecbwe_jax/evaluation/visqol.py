"""ViSQOL by visqol-python, an optional extra: `pip install codecbwe_jax[visqol]`."""

from __future__ import annotations

import numpy as np
import soxr

from codecbwe_jax.errors import UserError


def visqol_audio(estimate: np.ndarray, target: np.ndarray, rate: int) -> float:
    """MOS-LQO of ViSQOL's audio mode, which hears up to 15 kHz.

    Args:
      estimate, target: waveforms `[samples]`, cut to the shorter.
      rate: in Hz; resampled to the 48 kHz that the mode needs.

    Returns:
      1 to 4.73, or NaN for clips that are too short or silent.

    Raises:
      UserError: if the package is not installed.
    """
    try:
        from visqol import VisqolApi
    except ImportError:
        raise UserError("ViSQOL is not installed: pip install 'codecbwe_jax[visqol]'") from None
    length = min(len(estimate), len(target))
    pair = [x[:length].astype(np.float64) for x in (target, estimate)]
    if rate != 48000:
        pair = [soxr.resample(x, rate, 48000) for x in pair]
    api = VisqolApi()
    api.create(mode="audio")
    try:
        return float(api.measure_from_arrays(*pair, sample_rate=48000).moslqo)
    except ValueError:
        return float("nan")
