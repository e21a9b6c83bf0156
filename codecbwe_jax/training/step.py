"""One training step: turns in sequence, each a gradient, a mean over devices and an update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from codecbwe_jax.objectives.turn import Average, Batch, Context, Report, Turn

Tree = Any


def init_state(
    params: dict[str, Tree],
    optimizers: Mapping[str, optax.GradientTransformation],
    averages: Mapping[str, Average],
) -> dict[str, Tree]:
    """The state that a run carries and a checkpoint holds.

    Args:
      params: of every group.
      optimizers: one for each group that is trained.
      averages: exponential moving averages of groups, by name.

    Returns:
      "step", "params", "optimizers", "ema", "skipped" (updates skipped as not finite, in all) and
      "skipped_in_row".
    """
    return {
        "step": jnp.int32(0),
        "params": params,
        "optimizers": {group: tx.init(params[group]) for group, tx in optimizers.items()},
        # A copy: donating the same buffer twice fails.
        "ema": {n: jax.tree.map(jnp.copy, params[a.group]) for n, a in averages.items()},
        "skipped": jnp.int32(0),
        "skipped_in_row": jnp.int32(0),
    }


def make_step(
    turns: Sequence[Turn],
    optimizers: Mapping[str, optax.GradientTransformation],
    rates: Mapping[str, Callable[[jax.Array], jax.Array]],
    averages: Mapping[str, Average],
    micro_batches: int = 1,
    prepare: Callable[[Tree, Batch], Batch] = lambda frozen, batch: batch,
) -> Callable[..., tuple[dict[str, Tree], dict[str, jax.Array]]]:
    """Build the step for one set of active turns, to be mapped over devices.

    Args:
      turns: the active turns in order.
      optimizers, rates: transformation and learning-rate schedule of each group.
      averages: those of `init_state`.
      micro_batches: parts that a device's batch is cut into; their gradients are averaged.
      prepare: makes of frozen parameters and a batch the batch that the turns see.

    Returns:
      (state, batch, key, frozen, mean) -> (state, metrics), pure. An update that is not finite on
      any device is skipped on all.
    """

    def step(
        state: dict[str, Tree],
        batch: Batch,
        key: jax.Array,
        frozen: Tree,
        mean: Callable[[Tree], Tree],
    ) -> tuple[dict[str, Tree], dict[str, jax.Array]]:
        batch = prepare(frozen, batch)
        params, optimizer_states = dict(state["params"]), dict(state["optimizers"])
        step_key = jax.random.fold_in(key, state["step"])
        keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, batch["index"])
        early = {name: a for name, a in averages.items() if a.before_losses}
        ema = state["ema"] | _moved(state["ema"], params, early)
        context = Context(state["step"], keys, mean, frozen, ema)
        metrics: dict[str, jax.Array] = {}
        finite = jnp.bool_(True)
        for turn in turns:
            group = turn.group
            gradients, report = _gradients(turn, params, batch, context, micro_batches)
            gradients, values = mean((gradients, report.metrics))
            values["gradient_norm"] = optax.tree.norm(gradients)
            values["learning_rate"] = rates[group](state["step"])
            good = jnp.isfinite(values["gradient_norm"]) & jnp.isfinite(values["loss"])
            # a branch, not a choice between two trees: that would read and write both
            params[group], optimizer_states[group] = jax.lax.cond(
                good,
                _update(optimizers[group], values, gradients),
                lambda *unchanged: unchanged,
                params[group],
                optimizer_states[group],
            )
            for name, value in report.updates.items():
                params[name] = _choose(good, value, params[name])
            params |= turn.upkeep(params, context)
            finite &= good
            metrics |= {f"{group}/{name}": value for name, value in values.items()}
        skipped = (~finite).astype(jnp.int32)
        new_state = {
            "step": state["step"] + 1,
            "params": params,
            "optimizers": optimizer_states,
            "ema": ema | _moved(ema, params, {n: a for n, a in averages.items() if n not in early}),
            "skipped": state["skipped"] + skipped,
            "skipped_in_row": (state["skipped_in_row"] + 1) * skipped,
        }
        return new_state, metrics | {k: new_state[k] for k in ("skipped", "skipped_in_row")}

    return step


def _update(
    optimizer: optax.GradientTransformation, values: Mapping[str, jax.Array], gradients: Tree
) -> Callable[[Tree, Tree], tuple[Tree, Tree]]:
    """(params, optimiser state) -> the same after one update."""
    update = optax.with_extra_args_support(optimizer).update
    rate, norm = values["learning_rate"], values["gradient_norm"]

    def move(params: Tree, state: Tree) -> tuple[Tree, Tree]:
        updates, state = update(gradients, state, params, norm=norm)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), state

    return move


def _moved(
    ema: Mapping[str, Tree], params: Mapping[str, Tree], averages: Mapping[str, Average]
) -> dict[str, Tree]:
    """Some of the averages after a step towards the parameters."""

    def moved(old: Tree, average: Average) -> Tree:
        def mix(x: jax.Array, new: jax.Array) -> jax.Array:
            return x + (1 - average.decay) * (new - x)  # what stands still is kept bit for bit

        return jax.tree.map(mix, old, params[average.group])

    return {name: moved(ema[name], average) for name, average in averages.items()}


def _choose(condition: jax.Array, new: Tree, old: Tree) -> Tree:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


def _gradients(
    turn: Turn, params: Mapping[str, Tree], batch: Batch, context: Context, parts: int
) -> tuple[Tree, Report]:
    """Gradient for the turn's group, and the report with the loss; averaged over `parts`."""

    def loss(group_params: Tree, piece: Batch, keys: jax.Array) -> tuple[jax.Array, Report]:
        groups = {**params, turn.group: group_params}
        value, report = turn.loss(groups, piece, context._replace(keys=keys))
        return value, report._replace(metrics={**report.metrics, "loss": value})

    gradient = jax.grad(loss, has_aux=True)
    if parts == 1:
        return gradient(params[turn.group], batch, context.keys)

    def add(total: Tree, piece: tuple[Batch, jax.Array]) -> tuple[Tree, None]:
        result = gradient(params[turn.group], *piece)
        return jax.tree.map(lambda t, x: t + x / parts, total, result), None

    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(parts, -1, *x.shape[1:])

    pieces = jax.tree.map(cut, (dict(batch), context.keys))
    first = jax.tree.map(lambda x: x[0], pieces)
    shapes = jax.eval_shape(gradient, params[turn.group], *first)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add, zeros, pieces)[0]
