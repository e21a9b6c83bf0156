"""Which noise levels there are, and which of them a sampler takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def cosine_alpha_bar(steps: int = 1000, largest_beta: float = 1.0) -> np.ndarray:
    """`alpha^2` of each step of a discrete diffusion, float64 `[steps]`.

    Nichol, Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021), eq. 17, with its
    s = 0.008.

    Args:
      steps: how many there are.
      largest_beta: of a step's own variance. The last step's is 1, after which nothing is left of
        the signal, and is cut to 0.999 in the paper.
    """
    angles = (np.linspace(0, 1, steps + 1) + 0.008) / 1.008 * np.pi / 2
    power = np.cos(angles) ** 2
    betas = np.minimum(1 - power[1:] / power[:-1], largest_beta)
    return np.cumprod(1 - betas)


def cosine_log_snr(t: jax.Array, lowest: float = -20.0, highest: float = 20.0) -> jax.Array:
    """Of a continuous diffusion, from the highest at t = 0 to the lowest at t = 1.

    Ho, Salimans, "Classifier-Free Diffusion Guidance" (2022); maum-ai/nuwave2 diffusion.py.
    """
    first, last = (np.arctan(np.exp(-bound / 2)) for bound in (highest, lowest))
    return -2 * jnp.log(jnp.tan((last - first) * t + first))


def middles(count: int) -> np.ndarray:
    """Times in the middle of equal steps from 1 to 0, and one step after the last, where Euler's
    method along them ends: no time is asked at which there is no signal, or no noise.

    maum-ai/nuwave2 lightning_model.py.

    Args:
      count: of steps.

    Returns:
      float64 `[count + 1]`, falling; the last is beyond 0.
    """
    return 1 - (np.arange(count + 1) + 0.5) / count


def leading_steps(count: int, steps: int = 1000) -> np.ndarray:
    """Steps at which a sampler asks: evenly spaced from 1, the noisiest left out; it ends at 0.

    CompVis/latent-diffusion ldm/modules/diffusionmodules/util.py, "uniform".

    Args:
      count: how many, if it divides `steps`; else there are more. At most half of them.
      steps: of the diffusion.

    Returns:
      int `[count]`, falling.
    """
    return np.arange(0, steps, steps // count)[::-1] + 1


def trailing_steps(count: int, steps: int = 1000) -> np.ndarray:
    """Steps at which a sampler asks: evenly spaced from the noisiest; it ends without noise.

    Lin et al., "Common Diffusion Noise Schedules and Sample Steps Are Flawed" (2024).

    Args:
      count: how many.
      steps: of the diffusion.

    Returns:
      int `[count]`, falling.
    """
    return np.round(np.arange(count, 0, -1) * (steps / count)).astype(int) - 1


def karras_sigmas(count: int, lowest: float, highest: float, rho: float = 7.0) -> np.ndarray:
    """Levels of noise, evenly spaced in their root of degree rho, float64 `[count]`, falling.

    Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022),
    eq. 5, without its last 0.
    """
    return np.linspace(highest ** (1 / rho), lowest ** (1 / rho), count) ** rho
