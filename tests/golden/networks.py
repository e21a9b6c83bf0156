"""What the adapters of networks share: layouts, weights, and every module's result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.interop.weights import Rule, from_torch, to_torch

Values = dict[str, Any]


def swap(x: Any) -> np.ndarray:
    """`[B, T, C]` <-> `[B, C, T]`."""
    return np.asarray(x).swapaxes(1, 2)


def shapes(network: nn.Module, *inputs: tuple[int, ...], method: Any = None) -> Any:
    """Shapes of a network's parameters for float32 inputs of these shapes."""
    structs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    init = jax.eval_shape(lambda *x: network.init(jax.random.key(0), *x, method=method), *structs)
    return init["params"]


def load(rules: tuple[Rule, ...], weights: Mapping[str, np.ndarray], like: Any) -> Any:
    """Parameters from PyTorch's, checked to go back bit for bit."""
    params = from_torch(rules, weights, like)
    again = to_torch(rules, params)
    assert set(again) == set(weights)
    assert all(np.array_equal(weights[k], v) for k, v in again.items())
    return params


def run(network: nn.Module, params: Any, *inputs: Any, method: Any = None) -> tuple[Any, Values]:
    """Result, and every module's result under its path."""

    def apply(params: Any, *inputs: Any) -> Any:
        return network.apply(
            {"params": params},
            *inputs,
            method=method,
            capture_intermediates=True,
            mutable="intermediates",
        )

    out, state = jax.jit(apply)(params, *inputs)
    found = jax.tree_util.tree_flatten_with_path(state["intermediates"])[0]
    inner = {}
    for path, value in found:
        parts = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        inner.setdefault("/".join(parts[: parts.index("__call__")]), value)
    return out, inner
