"""One training step: turns in sequence, each a gradient, a mean over devices and an update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from codecbwe_jax.objectives.turn import Batch, Context, Report, Turn

Tree = Any


def init_state(
    params: dict[str, Tree],
    optimizers: Mapping[str, optax.GradientTransformation],
    averaged: Sequence[str],
) -> dict[str, Tree]:
    """The state that a run carries and a checkpoint holds.

    Args:
      params: of every group.
      optimizers: one for each group that is trained.
      averaged: groups with an exponential moving average.

    Returns:
      "step", "params", "optimizers", "ema", "skipped" (updates skipped as not finite, in all) and
      "skipped_in_row".
    """
    return {
        "step": jnp.int32(0),
        "params": params,
        "optimizers": {group: tx.init(params[group]) for group, tx in optimizers.items()},
        # A copy: donating the same buffer twice fails.
        "ema": {group: jax.tree.map(jnp.copy, params[group]) for group in averaged},
        "skipped": jnp.int32(0),
        "skipped_in_row": jnp.int32(0),
    }


def make_step(
    turns: Sequence[Turn],
    optimizers: Mapping[str, optax.GradientTransformation],
    rates: Mapping[str, Callable[[jax.Array], jax.Array]],
    ema_decay: float,
    micro_batches: int = 1,
) -> Callable[..., tuple[dict[str, Tree], dict[str, jax.Array]]]:
    """Build the step for one set of active turns, to be mapped over devices.

    Args:
      turns: the active turns in order.
      optimizers, rates: transformation and learning-rate schedule of each group.
      ema_decay: of the moving averages.
      micro_batches: parts that a device's batch is cut into; their gradients are averaged.

    Returns:
      (state, batch, key, mean) -> (state, metrics), pure. An update that is not finite on any
      device is skipped on all.
    """

    def step(
        state: dict[str, Tree], batch: Batch, key: jax.Array, mean: Callable[[Tree], Tree]
    ) -> tuple[dict[str, Tree], dict[str, jax.Array]]:
        params, optimizer_states = dict(state["params"]), dict(state["optimizers"])
        metrics, all_finite = {}, jnp.bool_(True)
        step_key = jax.random.fold_in(key, state["step"])
        keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, batch["index"])
        for turn in turns:
            context = Context(state["step"], keys, mean)
            loss, gradients, report = _gradients(turn, params, batch, context, micro_batches)
            loss, gradients, values = mean((loss, gradients, report.metrics))
            norm = optax.tree.norm(gradients)
            finite = jnp.isfinite(norm) & jnp.isfinite(loss)
            group = turn.group
            updates, new_optimizer = optimizers[group].update(
                gradients, optimizer_states[group], params[group]
            )
            rate = rates[group](state["step"])
            moved = optax.apply_updates(params[group], jax.tree.map(lambda u: -rate * u, updates))
            keep = _choose(finite)
            params[group] = jax.tree.map(keep, moved, params[group])
            optimizer_states[group] = jax.tree.map(keep, new_optimizer, optimizer_states[group])
            for name, value in report.updates.items():
                params[name] = jax.tree.map(keep, value, params[name])
            all_finite &= finite
            values |= {"loss": loss, "gradient_norm": norm, "learning_rate": rate}
            metrics |= {f"{group}/{name}": value for name, value in values.items()}
        ema = {
            group: jax.tree.map(
                lambda e, p: ema_decay * e + (1 - ema_decay) * p, average, params[group]
            )
            for group, average in state["ema"].items()
        }
        skipped = (~all_finite).astype(jnp.int32)
        new_state = {
            "step": state["step"] + 1,
            "params": params,
            "optimizers": optimizer_states,
            "ema": ema,
            "skipped": state["skipped"] + skipped,
            "skipped_in_row": (state["skipped_in_row"] + 1) * skipped,
        }
        metrics["skipped"] = new_state["skipped"]
        metrics["skipped_in_row"] = new_state["skipped_in_row"]
        return new_state, metrics

    return step


def _choose(condition: jax.Array) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda new, old: jnp.where(condition, new, old)


def _gradients(
    turn: Turn, params: Mapping[str, Tree], batch: Batch, context: Context, parts: int
) -> tuple[jax.Array, Tree, Report]:
    """Loss, its gradient for the turn's group, and the report; averaged over `parts` pieces."""

    def loss(group_params: Tree, piece: Batch, keys: jax.Array) -> tuple[jax.Array, Report]:
        return turn.loss({**params, turn.group: group_params}, piece, context._replace(keys=keys))

    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        (value, report), gradient = value_and_grad(params[turn.group], batch, context.keys)
        return value, gradient, report

    def add(total: Tree, piece: tuple[Batch, jax.Array]) -> tuple[Tree, None]:
        (value, report), gradient = value_and_grad(params[turn.group], *piece)
        return jax.tree.map(lambda t, x: t + x / parts, total, (value, gradient, report)), None

    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(parts, -1, *x.shape[1:])

    pieces = jax.tree.map(cut, (dict(batch), context.keys))
    first = jax.tree.map(lambda x: x[0], pieces)
    shapes = jax.eval_shape(value_and_grad, params[turn.group], *first)
    (value, report), gradient = shapes
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (value, gradient, report))
    return jax.lax.scan(add, zeros, pieces)[0]
