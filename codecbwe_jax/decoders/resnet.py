"""Vocos' residual backbone: dilated convolutions without a norm."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.fields import Layers, Size
from codecbwe_jax.nn.conv import WeightNormConv
from codecbwe_jax.nn.lengths import zero_after
from codecbwe_jax.weights.rules import Rule

DILATIONS = (1, 3, 5)
SLOPE = 0.1


@dataclasses.dataclass(frozen=True)
class ResNetSettings:
    """Sizes of Vocos' residual backbone.

    Attributes:
      size: width.
      layers: blocks.
      remat: compute the blocks' insides once more for gradients instead of keeping them.
    """

    size: Size = 512
    layers: Layers = 3
    remat: bool = dataclasses.field(default=False, compare=False)

    kind: ClassVar[str] = "resnet"

    def module(self, dtype: jnp.dtype) -> ResNetBackbone:
        """The unbound network."""
        return ResNetBackbone(self, dtype, parent=None)


class ResNetBackbone(nn.Module):
    """Convolution and residual blocks of three dilations: `[B, T, C]` -> float32 `[B, T, size]`.

    Source: gemelo-ai/vocos models.py VocosResNetBackbone, modules.py ResBlock1.

    Attributes:
      settings: sizes.
      dtype: of convolutions.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("embed", "embed", "wn_conv1d"),
        Rule("resnet_{i}/convs{n}_{j}", "resnet.{i}.convs{n}.{j}", "wn_conv1d"),
        Rule("resnet_{i}/gamma_{j}", "resnet.{i}.gamma.{j}", "column"),
    )

    settings: ResNetSettings
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        lengths: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
        condition: jax.Array | None = None,
    ) -> jax.Array:
        """Transform features; arguments as in `TransformerBackbone`."""
        del attention_mask, condition  # neither attention nor conditioned norms here
        s = self.settings
        x = conv(s.size, 3, "embed", dtype=self.dtype)(zero_after(x, lengths))
        make = nn.remat(ResBlock) if s.remat else ResBlock
        for i in range(s.layers):
            block = make(3, DILATIONS, 1 / s.layers / 3, self.dtype, name=f"resnet_{i}")
            x = block(x, lengths)
        return x.astype(jnp.float32)


class ResBlock(nn.Module):
    """HiFi-GAN's ResBlock1: pairs of a dilated and a plain convolution, each after a leaky ReLU
    and each pair residual. `[B, T, C]` -> `[B, T, C]`.

    Attributes:
      kernel_size: taps.
      dilations: of the pairs.
      scale: first value of a trained factor on what each pair adds (Vocos); None: no factor.
      dtype: of convolutions.
    """

    kernel_size: int
    dilations: Sequence[int]
    scale: float | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        size = x.shape[-1]
        for j, dilation in enumerate(self.dilations):
            y = x
            for n, spread in enumerate((dilation, 1), 1):
                y = zero_after(nn.leaky_relu(y, SLOPE), lengths)
                y = conv(size, self.kernel_size, f"convs{n}_{j}", spread, self.dtype)(y)
            if self.scale is not None:
                init = nn.initializers.constant(self.scale)
                y = self.param(f"gamma_{j}", init, (size,)).astype(self.dtype) * y
            x = x + y
        return x


def conv(
    features: int, taps: int, name: str, dilation: int = 1, dtype: jnp.dtype = jnp.float32
) -> WeightNormConv:
    """A convolution of the same length."""
    side = dilation * (taps - 1) // 2
    return WeightNormConv(features, (taps,), (1,), ((side, side),), dtype, (dilation,), name=name)
