"""An optimiser whose state is divided over the devices (ZeRO's first stage, arXiv 1910.02054).

Every tensor of the state is laid flat, padded and cut into as many parts as there are devices. A
device updates its own part, and the updates are gathered. Outside, in checkpoints, tensors have
their own shapes, so that a run may go on with another number of devices, or without sharing.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

Tree = Any
A = TypeVar("A", jax.Array, np.ndarray)


def parts(x: A, count: int) -> A:
    """Any shape -> `[count, size / count rounded up]`, zeros at the end."""
    flat = x.reshape(-1)
    each = part_size(flat.size, count)
    xp = np if isinstance(x, np.ndarray) else jnp
    return xp.pad(flat, (0, count * each - flat.size)).reshape(count, each)


def part_size(size: int, count: int) -> int:
    """Elements of a part of a tensor."""
    return -(-size // count)


def whole(divided: A, shape: tuple[int, ...]) -> A:
    """What `parts` made, in its own shape again."""
    return divided.reshape(-1)[: int(np.prod(shape))].reshape(shape)


def shared(
    transformation: optax.GradientTransformation, axis: str, count: int
) -> optax.GradientTransformation:
    """Divide the work of an elementwise transformation over the devices of a mapped function.

    Args:
      transformation: treats every element by itself, as Adam does.
      axis: name of the devices' axis.
      count: of devices.

    Returns:
      A transformation that takes and gives whole gradients and updates. Its `init` gives the whole
      state; `update` takes and gives a device's parts of its tensors, of shape `[k]` or `[1, k]`.
    """

    def update(updates: Tree, state: Tree, params: Tree = None) -> tuple[Tree, Tree]:
        del params  # what decays weights stands outside
        place = jax.lax.axis_index(axis)
        own = jax.tree.map(lambda x: parts(x, count)[place], updates)
        flat = jax.tree.map(lambda x: x.reshape(-1) if x.ndim else x, state)
        moved, new = transformation.update(own, flat)
        new = jax.tree.map(lambda n, x: n.reshape(x.shape), new, state)
        gathered = jax.tree.map(
            lambda m, x: whole(jax.lax.all_gather(m, axis), x.shape), moved, updates
        )
        return gathered, new

    return optax.GradientTransformation(transformation.init, update)
