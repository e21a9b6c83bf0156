"""Optimisers: AdamW for each parameter group, with learning rates by path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import optax

from codecbwe_jax.errors import UserError

# makes of a transformation one whose state the devices share
Share = Callable[[optax.GradientTransformation], optax.GradientTransformation]


def alone(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """Every device keeps the whole state."""
    return transformation


def learning_rate(settings: Any) -> Callable[[jax.Array], jax.Array]:
    """Learning rate at a global step: linear warm-up, then `decay` every `decay_every` steps.

    Args:
      settings: `learning_rate`, `warmup_steps`, `decay`, `decay_every`.
    """

    def schedule(step: jax.Array) -> jax.Array:
        warm = jnp.minimum(1.0, (step + 1) / max(settings.warmup_steps, 1))
        return settings.learning_rate * warm * settings.decay ** (step // settings.decay_every)

    return schedule


def build(
    settings: Any, params: Mapping[str, Any], share: Share = alone
) -> optax.GradientTransformation:
    """AdamW without its learning rate, which the step multiplies in (`learning_rate`).

    The rate is kept apart so that it follows the global step: a critic that starts late takes the
    same rate as the generator.

    Args:
      settings: an entry of `config.optimizers`: `betas`, `weight_decay`, `clip_norm` (0: none)
        and `rates`, pairs of a regular expression over parameter paths and a factor on the
        learning rate; 0 freezes. The first that matches counts; what none matches has factor 1.
      params: of the group, to check the expressions.
      share: how the devices keep Adam's moments, `DeviceMapping.share`.

    Raises:
      UserError: if an expression matches no parameter.
    """
    rates = dict(settings.rates)
    factors = path_factors(rates, params)
    stages = [_clip(settings.clip_norm, 0.0 in rates.values())] if settings.clip_norm else []
    stages += [
        share(optax.scale_by_adam(*settings.betas)),
        optax.add_decayed_weights(settings.weight_decay),
    ]
    if rates:
        stages.append(
            optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, factors))
        )
    # A frozen parameter must not count in the norm that clips the others.
    masked = [optax.stateless(lambda g, _: jax.tree.map(_zero_if_frozen, g, factors))]
    return optax.chain(*(masked if 0.0 in rates.values() else []), *stages)


def _clip(limit: float, frozen: bool) -> optax.GradientTransformationExtraArgs:
    """`optax.clip_by_global_norm` that may be given the norm: inside the step's branch XLA cannot
    see that it was taken before, and it is an operation or two for every parameter.

    Args:
      limit: of the norm.
      frozen: some gradients were made zero, so that the norm of all that is given does not hold.

    Returns:
      A transformation whose `update` takes `norm`, a float32 scalar, beside what all take.
    """

    def update(
        updates: Any, state: Any, params: Any = None, *, norm: jax.Array | None = None, **_: Any
    ) -> tuple[Any, Any]:
        del params
        if norm is None or frozen:
            norm = optax.tree.norm(updates)
        below = norm < limit
        divisor, factor = jnp.where(below, 1.0, norm), jnp.where(below, 1.0, limit)
        return jax.tree.map(lambda g: g / divisor * factor, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def _zero_if_frozen(gradient: jax.Array, factor: float) -> jax.Array:
    return gradient if factor else jnp.zeros_like(gradient)


def path_factors(rates: Mapping[str, float], params: Mapping[str, Any]) -> dict[str, Any]:
    """Factor on the learning rate of every parameter, as a tree of floats like `params`.

    Raises:
      UserError: if an expression matches no parameter.
    """
    paths = list(flax.traverse_util.flatten_dict(dict(params), sep="/"))
    unused = [p for p in rates if not any(re.search(p, path) for path in paths)]
    if unused:
        raise UserError(f"config.optimizers: no parameter path matches {unused}")
    factors = {
        path: next((float(f) for p, f in rates.items() if re.search(p, path)), 1.0)
        for path in paths
    }
    return flax.traverse_util.unflatten_dict(factors, sep="/")
