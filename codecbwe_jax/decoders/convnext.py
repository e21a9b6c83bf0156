"""Convolutional backbones: Vocos' ConvNeXt, and WavTokenizer's with attention before it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.decoders.transformer import ResidualBlock, group_norm
from codecbwe_jax.fields import Layers, Size
from codecbwe_jax.nn.attention import attend
from codecbwe_jax.nn.convnext import EPS, AdaLayerNorm, ConvNeXtBlock
from codecbwe_jax.nn.lengths import mask_of, zero_after
from codecbwe_jax.weights.rules import Rule, under


@dataclasses.dataclass(frozen=True)
class ConvNeXtSettings:
    """Sizes of Vocos' backbone.

    Attributes:
      size: width.
      intermediate: width inside the blocks.
      layers: blocks.
      remat: compute the blocks' insides once more for gradients instead of keeping them.
    """

    size: Size = 512
    intermediate: Size = 1536
    layers: Layers = 8
    remat: bool = dataclasses.field(default=False, compare=False)

    kind: ClassVar[str] = "convnext"

    def module(self, dtype: jnp.dtype) -> ConvNeXtBackbone:
        """The unbound network."""
        return ConvNeXtBackbone(self, dtype, parent=None)


@dataclasses.dataclass(frozen=True)
class WavTokenizerSettings(ConvNeXtSettings):
    """Sizes of WavTokenizer's backbone; its width is a multiple of 32."""

    size: Size = 768
    intermediate: Size = 2304
    layers: Layers = 12

    kind: ClassVar[str] = "wavtokenizer"

    def module(self, dtype: jnp.dtype) -> WavTokenizerBackbone:
        """The unbound network."""
        return WavTokenizerBackbone(self, dtype, parent=None)


class ConvNeXtBackbone(nn.Module):
    """Convolution, norm, ConvNeXt blocks, norm: `[B, T, C]` -> float32 `[B, T, size]`.

    Source: gemelo-ai/vocos models.py VocosBackbone (arXiv 2306.00814).

    Attributes:
      settings: sizes.
      dtype: of matrix products and convolutions.
      conditions: how many conditions its norms have (Vocos' bandwidths), for weights of others; 0:
        they are plain.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("embed", "embed", "conv"),
        Rule("norm", "norm", "norm"),
        *under("norm", "norm", AdaLayerNorm.torch_rules),
        *under("convnext_{i}", "convnext.{i}", ConvNeXtBlock.torch_rules),
        Rule("final_layer_norm", "final_layer_norm", "norm"),
    )

    settings: ConvNeXtSettings
    dtype: jnp.dtype = jnp.float32
    conditions: int = 0

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        lengths: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
        condition: jax.Array | None = None,
    ) -> jax.Array:
        """Transform features; arguments as in `TransformerBackbone`, `condition` as in
        `AdaLayerNorm`."""
        s = self.settings
        init = nn.initializers.normal(0.02)
        embed = nn.Conv(
            s.size, (7,), padding=((3, 3),), dtype=self.dtype, kernel_init=init, name="embed"
        )
        x = self.positions(embed(zero_after(x, lengths)), lengths, attention_mask)
        if self.conditions:
            x = AdaLayerNorm(self.conditions, self.dtype, name="norm")(x, condition)
        else:
            x = nn.LayerNorm(EPS, dtype=self.dtype, name="norm")(x)
        make = nn.remat(ConvNeXtBlock) if s.remat else ConvNeXtBlock
        for i in range(s.layers):
            block = make(
                s.intermediate, 1 / s.layers, self.dtype, self.conditions, name=f"convnext_{i}"
            )
            x = block(x, lengths, condition)
        return nn.LayerNorm(EPS, name="final_layer_norm")(x.astype(jnp.float32))

    def positions(
        self, x: jax.Array, lengths: jax.Array | None, attention_mask: jax.Array | None
    ) -> jax.Array:
        """What stands between the embedding and the first norm: nothing."""
        return x


class WavTokenizerBackbone(ConvNeXtBackbone):
    """The same with two residual blocks, attention, two more and a GroupNorm after the embedding.

    GroupNorm and attention see all frames of an item. Source: jishengpeng/WavTokenizer
    decoder/models.py (arXiv 2408.16532).
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *ConvNeXtBackbone.torch_rules,
        Rule("pos_net_{i}/norm{n}", "pos_net.{i}.norm{n}", "norm"),
        Rule("pos_net_{i}/conv{n}", "pos_net.{i}.conv{n}", "conv"),
        Rule("pos_net_2/norm", "pos_net.2.norm", "norm"),
        Rule("pos_net_2/q", "pos_net.2.q", "pointwise_dense"),
        Rule("pos_net_2/k", "pos_net.2.k", "pointwise_dense"),
        Rule("pos_net_2/v", "pos_net.2.v", "pointwise_dense"),
        Rule("pos_net_2/proj_out", "pos_net.2.proj_out", "pointwise_dense"),
        Rule("pos_net_5", "pos_net.5", "norm"),
    )

    @nn.compact
    def positions(
        self, x: jax.Array, lengths: jax.Array | None, attention_mask: jax.Array | None
    ) -> jax.Array:
        """Residual blocks around attention."""
        x = x.astype(jnp.float32)
        for i in range(5):
            if i == 2:
                mask = mask_of(lengths, x.shape[1]) if attention_mask is None else attention_mask
                x = FrameAttention(self.dtype, name="pos_net_2")(x, lengths, mask)
            else:
                x = ResidualBlock(self.dtype, name=f"pos_net_{i}")(x, lengths)
        return group_norm(x, lengths, "pos_net_5")


class FrameAttention(nn.Module):
    """GroupNorm and attention of one head over all frames, with biases, plus the input."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: jax.Array, lengths: jax.Array | None, mask: jax.Array | None
    ) -> jax.Array:
        size = x.shape[-1]
        y = group_norm(x, lengths, "norm")
        q, k, v = (nn.Dense(size, dtype=self.dtype, name=n)(y)[:, :, None] for n in "qkv")
        mixed = attend(q, k, v, mask)[:, :, 0]
        return x + nn.Dense(size, dtype=self.dtype, name="proj_out")(mixed).astype(jnp.float32)
