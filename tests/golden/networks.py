"""What the adapters of networks share: layouts, weights, and every module's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.weights.rules import Rule, from_torch, to_torch, torch_layout

Values = dict[str, Any]
Names = dict[str, list[int]]


def swap(x: Any) -> np.ndarray:
    """`[B, T, C]` <-> `[B, C, T]`."""
    return np.asarray(x).swapaxes(1, 2)


def tuples(x: Any) -> Any:
    """Lists in lists as tuples in tuples."""
    return tuple(tuples(y) for y in x) if isinstance(x, list) else x


def shapes(network: nn.Module, *inputs: tuple[int, ...], method: Any = None) -> Any:
    """Shapes of a network's parameters for float32 inputs of these shapes."""
    structs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    init = jax.eval_shape(lambda *x: network.init(jax.random.key(0), *x, method=method), *structs)
    return init["params"]


def names(rules: tuple[Rule, ...], like: Any, prefix: str = "") -> Names:
    """Names and shapes of a network's tensors in PyTorch."""
    layout = torch_layout(rules, like).values()
    return {f"{prefix}{key}": list(shape) for key, _, shape in layout}


def folded(names: Names) -> Names:
    """The names with plain weights in place of weight norms."""
    return {
        k.replace("weight_v", "weight"): v for k, v in names.items() if not k.endswith("weight_g")
    }


def part(weights: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The weights under a name, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def load(rules: tuple[Rule, ...], weights: Mapping[str, np.ndarray], like: Any) -> Any:
    """Parameters from PyTorch's, checked to go back bit for bit (weight norms in the old
    spelling)."""
    params = from_torch(rules, weights, like)
    again = to_torch(rules, params)
    for i, old in enumerate("gv"):
        new = f"parametrizations.weight.original{i}"
        weights = {k.replace(new, f"weight_{old}"): v for k, v in weights.items()}
    assert set(again) == set(weights)
    assert all(np.array_equal(weights[k], v) for k, v in again.items())
    return params


def run(network: nn.Module, params: Any, *inputs: Any, method: Any = None) -> tuple[Any, Values]:
    """Result; and every module's result under its path, what it was given under "path/in", and what
    it sows under the name."""

    def apply(params: Any, *inputs: Any) -> Any:
        given: Values = {}

        def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            if context.method_name == "__call__" and args:
                given.setdefault("/".join((*context.module.path, "in")), args[0])
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            out, state = network.apply(
                {"params": params},
                *inputs,
                method=method,
                capture_intermediates=True,
                mutable="intermediates",
            )
        return out, state, given

    out, state, inner = jax.jit(apply)(params, *inputs)
    for path, value in jax.tree_util.tree_flatten_with_path(state["intermediates"])[0]:
        parts = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        end = parts.index("__call__") if "__call__" in parts else len(parts) - 1
        inner.setdefault("/".join(parts[:end]), value)
    return out, inner
