"""What ssr_eval does beside its systems: it cuts a waveform to another's length, and measures.

No command of ours needs either; numbers that it has published do.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.stft import stft

EPS = 1e-12


def trim_center(estimate: np.ndarray, samples: int) -> np.ndarray:
    """Cut a longer waveform `[..., n]` at both ends, more at its last if the difference is odd
    (examples/NVSR main.py, where a difference of 1 leaves nothing)."""
    begin = max(estimate.shape[-1] - samples, 0) // 2
    return estimate[..., begin : begin + samples]


def lsd(estimate: jax.Array, target: jax.Array, rate: int) -> jax.Array:
    """Log-spectral distance of ssr_eval metrics.py in log10 of power, of waveforms `[n]`: the mean
    over frames of the root mean square over bins.

    Windows have about the same length in seconds at every rate. What only one of the two has counts
    unlike: for a bin that the target lacks there is a limit.
    """
    n_fft, hop = int(2048 / (44100 / rate)), int(rate / 100)
    e, t = (abs(stft(x, n_fft, hop, padding="zeros")) for x in (estimate, target))
    distance = jnp.log10(t**2 / (e + EPS) ** 2 + EPS)
    return jnp.mean(jnp.sqrt(jnp.mean(distance**2, axis=-1)))
