"""Fresh variables of a network, and initialisers of the PyTorch originals."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax.interpreters.partial_eval import dce_jaxpr


def fresh_variables(
    network: nn.Module,
    key: jax.Array,
    *inputs: jax.ShapeDtypeStruct,
    mutable: str | nn.DenyList = "params",
) -> dict[str, Any]:
    """Fresh variables, of which nothing is computed but what they need.

    `network.lazy_init` gives the same, and computes all that follows from parameters alone too
    (gains, norms of weights): hundreds of small programs, which make up most of a start.

    Args:
      network: whose variables depend on the shapes of its inputs alone.
      key: of the draws.
      inputs: what the network is called with.
      mutable: the collections wanted.

    Returns:
      Collections by name ("params", ...).

    Raises:
      TypeError: if they depend on the values of the inputs.
    """
    draw, structure = _traced(network, key.dtype, inputs, mutable)
    return jax.tree.unflatten(structure, draw(key))


# a model is made of its shapes, then checked, then made: the network is walked through once
@functools.lru_cache(maxsize=64)
def _traced(
    network: nn.Module,
    key_dtype: jax.typing.DTypeLike,
    inputs: tuple[jax.ShapeDtypeStruct, ...],
    mutable: str | nn.DenyList,
) -> tuple[Callable[[jax.Array], list[jax.Array]], jax.tree_util.PyTreeDef]:
    """(leaves of the variables from a key, their tree)."""
    init = functools.partial(network.init, mutable=mutable)
    key = jax.ShapeDtypeStruct((), key_dtype)
    traced, shapes = jax.make_jaxpr(init, return_shape=True)(key, *inputs)
    leaves, structure = jax.tree.flatten(shapes)
    needed, (takes_key, *others) = dce_jaxpr(traced.jaxpr, [True] * len(leaves))
    if any(others):
        raise TypeError(f"variables of {type(network).__name__} depend on what it is called with")

    def draw(key: jax.Array) -> list[jax.Array]:
        return jax.core.eval_jaxpr(needed, traced.consts, *([key] if takes_key else []))

    return draw, structure


# torch.nn.init.kaiming_normal_ as it is called without arguments, which cuts no tails
KAIMING_NORMAL = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for conv and linear layers, for
    their kernels as well as their biases."""
    bound = 1.0 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: type = float) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
