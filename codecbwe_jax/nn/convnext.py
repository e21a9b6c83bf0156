"""The 1-D ConvNeXt block of Vocos and AP-BWE."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.nn.conv import DepthwiseConv
from codecbwe_jax.nn.lengths import zero_after
from codecbwe_jax.weights.rules import Rule

EPS = 1e-6


class AdaLayerNorm(nn.Module):
    """LayerNorm whose gain and offset are rows of two tables: `[B, T, C]` -> `[B, T, C]`.

    Source: gemelo-ai/vocos modules.py.

    Attributes:
      conditions: rows of the tables.
      dtype: of the result; LayerNorm reduces in float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("{table}/embedding", "{table}.weight", "array"),
    )

    conditions: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        """`condition` is int, one for the batch `[1]` or for each item `[B]`."""
        size, init = x.shape[-1], nn.initializers
        scale = nn.Embed(self.conditions, size, embedding_init=init.ones, name="scale")
        shift = nn.Embed(self.conditions, size, embedding_init=init.zeros, name="shift")
        y = nn.LayerNorm(EPS, use_bias=False, use_scale=False, dtype=self.dtype)(x)
        return y * scale(condition)[:, None] + shift(condition)[:, None]


class ConvNeXtBlock(nn.Module):
    """Depthwise conv, LayerNorm, two linear layers with GELU, layer scale, residual.

    `[B, T, C]` -> `[B, T, C]`. Source: gemelo-ai/vocos modules.py.

    Attributes:
      hidden: width between the two linear layers.
      layer_scale: initial value of gamma.
      dtype: of convolutions and matrix products; LayerNorm reduces in float32.
      conditions: of an adaptive LayerNorm; 0: it is plain.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("dwconv", "dwconv", "depthwise"),
        Rule("norm", "norm", "norm"),
        Rule("norm/{table}/embedding", "norm.{table}.weight", "array"),
        Rule("pwconv{n}", "pwconv{n}", "dense"),
        Rule("gamma", "gamma", "array"),
    )

    hidden: int
    layer_scale: float
    dtype: jnp.dtype = jnp.float32
    conditions: int = 0

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        lengths: jax.Array | None = None,
        condition: jax.Array | None = None,
    ) -> jax.Array:
        init = nn.initializers.normal(0.02)
        y = DepthwiseConv(7, self.dtype, name="dwconv")(zero_after(x, lengths))
        if self.conditions:
            y = AdaLayerNorm(self.conditions, self.dtype, name="norm")(y, condition)
        else:
            y = nn.LayerNorm(EPS, dtype=self.dtype, name="norm")(y)
        y = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name="pwconv1")(y)
        y = nn.gelu(y, approximate=False)
        y = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=init, name="pwconv2")(y)
        gamma = self.param("gamma", nn.initializers.constant(self.layer_scale), (x.shape[-1],))
        return x + gamma.astype(self.dtype) * y
