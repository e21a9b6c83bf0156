"""The 1-D ConvNeXt block of Vocos and AP-BWE."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.nn.conv import DepthwiseConv


class ConvNeXtBlock(nn.Module):
    """Depthwise conv, LayerNorm, two linear layers with GELU, layer scale, residual.

    `[B, T, C]` -> `[B, T, C]`. Source: gemelo-ai/vocos modules.py.

    Attributes:
      hidden: width between the two linear layers.
      layer_scale: initial value of gamma.
      dtype: of convolutions and matrix products; LayerNorm reduces in float32.
    """

    hidden: int
    layer_scale: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.normal(0.02)
        y = DepthwiseConv(7, self.dtype, name="dwconv")(x)
        y = nn.LayerNorm(1e-6, dtype=self.dtype, name="norm")(y)
        y = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name="pwconv1")(y)
        y = nn.gelu(y, approximate=False)
        y = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=init, name="pwconv2")(y)
        gamma = self.param("gamma", nn.initializers.constant(self.layer_scale), (x.shape[-1],))
        return x + gamma.astype(self.dtype) * y
