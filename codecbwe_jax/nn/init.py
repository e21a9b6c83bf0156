"""Initialisers of the PyTorch originals."""

from __future__ import annotations

import math

import jax
from flax import linen as nn


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for conv and linear layers, for
    their kernels as well as their biases."""
    bound = 1.0 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: type = float) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
