"""First values of an ISTFT head at a higher rate, from one that is trained at a lower rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from codecbwe_jax.errors import UserError

Recipe = Literal["equal_hz", "interpolate", "interpolate_halves"]
# Level of the new rows against the old ones that they repeat. Natural speech falls by 1 to 9 dB
# from 4-8 kHz upwards; the distance to it is least near here.
NEW_ROWS_DB = -6.0


def rescaled_head(
    head: Mapping[str, np.ndarray], rate_ratio: float, n_fft: int, recipe: Recipe = "equal_hz"
) -> dict[str, np.ndarray]:
    """A head for more bins, from the same features.

    "equal_hz" copies every bin's magnitude and phase to where it lies in Hz, louder by the rate
    ratio because the transform sums as many more samples, halves the old Nyquist bin, which now has
    a mirror image, and fills what lies above with the upper half of the old band at -6 dB. On the
    samples that both rates share, the old band comes out exactly as before. The other two stretch
    the frequency axis, and are here to be compared with: "interpolate" takes linear interpolation
    over all outputs as one axis (arXiv 2601.20185 eq. 1; malaysia-ai/X-Codec-2.0-25TPS-24k),
    "interpolate_halves" over magnitudes and phases apart.

    Args:
      head: "kernel" `[features, old_n_fft + 2]` and "bias" `[old_n_fft + 2]`: log magnitudes of all
        bins, then phases.
      rate_ratio: new output rate over the old one.
      n_fft: of the new head.
      recipe: see above.

    Returns:
      "kernel" `[features, n_fft + 2]` and "bias" `[n_fft + 2]`, float32.

    Raises:
      UserError: if the bins of "equal_hz" would not lie at the old ones' frequencies, or the recipe
        is unknown.
    """
    rows = np.concatenate([head["kernel"], head["bias"][None]]).T.astype(np.float64)
    old_n_fft = len(rows) - 2
    magnitude, phase = np.split(rows, 2)
    if recipe == "interpolate":
        new = _stretched(rows, n_fft + 2)
    elif recipe == "interpolate_halves":
        new = np.concatenate([_stretched(half, n_fft // 2 + 1) for half in (magnitude, phase)])
    elif recipe == "equal_hz":
        wanted = round(old_n_fft * rate_ratio, 6)  # 44100 / 16000 is no exact float
        if n_fft != wanted:
            raise UserError(
                f"equal_hz keeps the distance of bins: n_fft must be {wanted:g} "
                f"(it is {n_fft}); other sizes need a head from scratch, or interpolate"
            )
        new = _at_equal_hz(magnitude, phase, n_fft)
    else:
        known = "equal_hz, interpolate, interpolate_halves"
        raise UserError(f"head initialisation {recipe!r}; known: {known}")
    new = new.T.astype(np.float32)
    return {"kernel": new[:-1], "bias": new[-1]}


def _at_equal_hz(magnitude: np.ndarray, phase: np.ndarray, n_fft: int) -> np.ndarray:
    """Rows `[bins, features + 1]`, the bias last, of both halves at the new size."""
    nyquist = len(magnitude) - 1
    half = nyquist // 2
    k = np.arange(n_fft // 2 + 1)
    source = np.where(k <= nyquist, k, half + (k - half) % half)
    louder = np.full(len(k), np.log(n_fft / (2 * nyquist)))
    louder[nyquist : nyquist + 1] -= np.log(2.0)
    louder[nyquist + 1 :] += NEW_ROWS_DB * np.log(10.0) / 20
    magnitude = magnitude[source]
    magnitude[:, -1] += louder
    return np.concatenate([magnitude, phase[source]])


def _stretched(rows: np.ndarray, count: int) -> np.ndarray:
    """`[n, ...]` -> `[count, ...]`, linear between neighbours, both ends kept."""
    at = np.linspace(0, len(rows) - 1, count)
    low = np.minimum(at.astype(int), len(rows) - 2)
    weight = (at - low)[:, None]
    return (1 - weight) * rows[low] + weight * rows[low + 1]
