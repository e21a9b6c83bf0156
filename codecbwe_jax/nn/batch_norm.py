"""Batch norm whose running statistics stand among the parameters, as PyTorch's do."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

# the collection in which training gives the next running statistics
STATISTICS = "batch_stats"
EPS = 1e-5
MOMENTUM = 0.1


class BatchNorm(nn.Module):
    """Batch norm over all axes but the last: `[..., C]` -> float32 `[..., C]`.

    Parameters `scale`, `bias`, `mean` and `var`, each `[C]`; no gradient reaches the last two.
    Source: torch.nn.BatchNorm2d with its defaults.
    """

    @nn.compact
    def __call__(self, x: jax.Array, training: bool = False) -> jax.Array:
        """Normalise.

        Args:
          x: of any float type.
          training: by the statistics of x, biased variance, and not by the running ones. What these
            then are (a tenth of x's, unbiased variance) is given in the collection "batch_stats"
            where that is mutable; `with_statistics` puts it among the parameters.

        Raises:
          ValueError: if training is to be on one value for each channel.
        """
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        size = x.shape[-1:]
        scale, bias = self.param("scale", ones, size), self.param("bias", zeros, size)
        running = self.param("mean", zeros, size), self.param("var", ones, size)
        mean, var = (jax.lax.stop_gradient(value) for value in running)
        x = x.astype(jnp.float32)
        if training:
            count = math.prod(x.shape[:-1])
            if count < 2:
                raise ValueError(f"batch norm {self.name}: one value has no variance")
            axes = tuple(range(x.ndim - 1))
            batch_mean, batch_var = jnp.mean(x, axes), jnp.var(x, axes)
            self._give("mean", mean, batch_mean)
            self._give("var", var, batch_var * (count / (count - 1)))
            mean, var = batch_mean, batch_var
        return (x - mean) * (jax.lax.rsqrt(var + EPS) * scale) + bias

    def _give(self, name: str, running: jax.Array, batch: jax.Array) -> None:
        new = jax.lax.stop_gradient((1 - MOMENTUM) * running + MOMENTUM * batch)
        self.sow(STATISTICS, name, new, reduce_fn=lambda _, value: value, init_fn=lambda: None)


def with_statistics(params: Any, statistics: Any) -> dict[str, Any]:
    """Parameters with the running statistics that training gave.

    Args:
      params: of a network with batch norms.
      statistics: its collection "batch_stats" after a call with `training`.

    Raises:
      ValueError: if there are statistics of a norm that has no parameters.
    """
    old, new = (flatten_dict(dict(tree), sep="/") for tree in (params, statistics))
    if unknown := new.keys() - old.keys():
        raise ValueError(f"no parameters of these names: {', '.join(sorted(unknown))}")
    return unflatten_dict(old | new, sep="/")
