"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable

import jax

Estimate = Callable[..., jax.Array]


def guided(conditional: Estimate, unconditional: Estimate, scale: float | jax.Array) -> Estimate:
    """What is said with the condition, led away from what is said without it; of a flow's field as
    of noise, velocities or clean signals, which are linear in one another.

    Ho, Salimans, "Classifier-Free Diffusion Guidance" (2022), eq. 6, whose w is scale - 1.

    Args:
      conditional, unconditional: functions of the same arguments.
      scale: 1 is the conditional estimate alone, and as a Python number costs no other; arrays
        broadcast against the estimates.
    """
    if isinstance(scale, int | float) and scale == 1:
        return conditional

    def estimate(*arguments: object) -> jax.Array:
        without = unconditional(*arguments)
        return without + scale * (conditional(*arguments) - without)

    return estimate
