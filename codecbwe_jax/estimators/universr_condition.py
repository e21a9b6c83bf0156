"""What UniverSR's field is told: of the known bins a vector for each frame, spread over bins."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.estimators.convnext_v2 import INIT, ConvNeXtV2Block
from codecbwe_jax.weights.rules import Rule, under

PARTS = 2  # real and imaginary


class Condition(NamedTuple):
    """What the field is told at all times alike.

    Attributes:
      bins: what the first layer makes of the known bins, `[B, T, F, dims[0]]`, T being whole
        strides, or 1 where all frames are told the same.
      rate: what is added to the time's embedding, `[B, time_size]`.
    """

    bins: jax.Array
    rate: jax.Array


def frequency_code(bins: int, size: int) -> np.ndarray:
    """Sines and cosines of a bin's number in turn, from a period of 2 pi bins to one of nearly
    20000 pi.

    Args:
      bins: how many.
      size: even; of a bin's code.

    Returns:
      float32 `[bins, size]`: the original's buffer `freq_pos_enc.pe`.
    """
    rates = np.exp(np.arange(0, size, 2, dtype=np.float32) * np.float32(-np.log(10000.0) / size))
    angles = np.arange(bins, dtype=np.float32)[:, None] * rates
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(bins, size)


class ConditionEncoder(nn.Module):
    """Known bins `[B, T, F, 2]` -> float32 `[B, T, size]`, the mean of its blocks over bins.

    Source: woongzip1/UniverSR universr/models/unet.py ConditioningEncoder2D.

    Attributes:
      size: width.
      layers: blocks.
      dtype: of convolutions and matrix products.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("film_generator", "film_generator", "dense"),
        Rule("head", "head", "conv"),
        Rule("sr_adapter_{n}", "sr_adapter.{n}", "dense"),
        *under("blocks_{i}", "blocks.{i}", ConvNeXtV2Block.torch_rules),
    )

    size: int
    layers: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, known: jax.Array, code: jax.Array, rate: jax.Array) -> jax.Array:
        """Encode.

        Args:
          known: `[B, T, F, 2]`, at least 4 frames and 4 bins.
          code: `frequency_code` of these bins, `[F, size]`.
          rate: embeddings of the input rates `[B, size]`.
        """
        gain, offset = jnp.split(self._dense(2 * PARTS, "film_generator")(code), 2, -1)
        head = nn.Conv(self.size, (1, 1), dtype=self.dtype, kernel_init=INIT, name="head")
        y = head(known * gain + offset)
        step = nn.gelu(self._dense(self.size, "sr_adapter_0")(rate), approximate=False)
        step = self._dense(2 * self.size, "sr_adapter_2")(step)
        gain, offset = jnp.split(step[:, None, None], 2, axis=-1)
        y = y * gain + offset
        for i in range(self.layers):
            y = ConvNeXtV2Block(self.dtype, name=f"blocks_{i}")(y)
        return jnp.mean(y.astype(jnp.float32), axis=2)

    def _dense(self, size: int, name: str) -> nn.Dense:
        return nn.Dense(size, dtype=self.dtype, kernel_init=INIT, name=name)


class InputLayer(nn.Module):
    """A linear layer on a spectrum and its condition side by side, each by itself, since the
    condition's part is the same at all times.

    Attributes:
      features: width of the result.
      condition_size: of a frame's condition.
      dtype: of the products.
    """

    features: int
    condition_size: int
    dtype: jnp.dtype

    def setup(self) -> None:
        shape = (1, 1, PARTS + self.condition_size, self.features)
        self.kernel = self.param("kernel", INIT, shape)
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def of_condition(self, frames: jax.Array, gain: jax.Array, offset: jax.Array) -> jax.Array:
        """Vectors of frames `[B, T, D]`, spread over bins by gains and offsets `[F, D]` ->
        `[B, T, F, features]`."""
        kernel = self.kernel[0, 0, PARTS:]
        # a kernel for each bin, so that no vector is made for each frame and bin
        kernels = (gain.T[:, :, None] * kernel[:, None]).astype(self.dtype)
        y = jnp.einsum("btd,dfc->btfc", frames.astype(self.dtype), kernels)
        return y + (offset @ kernel + self.bias).astype(self.dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, T, F, 2]` -> `[B, T, F, features]`."""
        return x.astype(self.dtype) @ self.kernel[0, 0, :PARTS].astype(self.dtype)
