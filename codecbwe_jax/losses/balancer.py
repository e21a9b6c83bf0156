"""EnCodec's gradient balancer as a pure function (facebookresearch/encodec balancer.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

State = dict[str, dict[str, jax.Array]]


class Figures(NamedTuple):
    """What a balancer finds of a loss.

    Attributes:
      norm: mean norm of its gradient.
      scale: factor on it in the mix.
    """

    norm: jax.Array
    scale: jax.Array | float


def initial_state(names: Mapping[str, Any]) -> State:
    """Running means before the first step: name -> {"total", "fix"} scalars."""
    return {name: {"total": jnp.float32(0), "fix": jnp.float32(0)} for name in names}


def balance(
    gradients: Mapping[str, jax.Array],
    weights: Mapping[str, jax.Array | float],
    state: State,
    total_norm: float = 1.0,
    ema_decay: float = 0.999,
    per_item: bool = True,
    rescale: bool = True,
    epsilon: float = 1e-12,
    mean_over_devices: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> tuple[jax.Array, State, dict[str, Figures]]:
    """Mix gradients so that each has its share of the total, whatever its loss's unit.

    Args:
      gradients: of each loss with respect to the generator's output, `[B, ...]`.
      weights: share of each. A ramp belongs here: a factor on the loss itself is cancelled.
      state: running means of the norms.
      total_norm: norm of the mix.
      ema_decay: of the running means, which are corrected for their start.
      per_item: norm of each item, averaged over the batch; else of the whole tensor.
      rescale: False only weights the gradients.
      epsilon: added to the mean norm.
      mean_over_devices: averages norms over data-parallel devices.

    Returns:
      (mixed gradient, new state, figures of each loss).
    """
    share = sum(weights[name] for name in gradients)
    new_state, figures = {}, {}
    for name, gradient in gradients.items():
        square = jnp.square(gradient.astype(jnp.float32))
        if per_item:
            norm = jnp.mean(jnp.sqrt(jnp.sum(square.reshape(square.shape[0], -1), axis=1)))
        else:
            norm = jnp.sqrt(jnp.sum(square))
        total = ema_decay * state[name]["total"] + mean_over_devices(norm)
        fix = ema_decay * state[name]["fix"] + 1.0
        new_state[name] = {"total": total, "fix": fix}
        average = total / fix
        scale = weights[name] / share * total_norm / (epsilon + average)
        figures[name] = Figures(average, scale if rescale else weights[name])
    mixed = sum(figures[name].scale * gradient for name, gradient in gradients.items())
    return mixed, {**state, **new_state}, figures
