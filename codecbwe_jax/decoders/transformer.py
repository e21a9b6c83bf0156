"""The decoder's backbone: convolutions around a Transformer without positions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.fields import LayersOrNone, Size
from codecbwe_jax.nn.attention import attend
from codecbwe_jax.nn.lengths import mask_of, zero_after
from codecbwe_jax.weights.rules import Rule

EPS = 1e-6
GROUPS = 32


@dataclasses.dataclass(frozen=True)
class TransformerSettings:
    """Sizes of the backbone.

    Attributes:
      size: width.
      intermediate: width of the feed-forward layers.
      layers: Transformer layers.
      heads, head_size: of attention.
      remat: compute the layers' insides once more for gradients instead of keeping them.
    """

    size: Size = 1024
    intermediate: Size = 4096
    layers: LayersOrNone = 12
    heads: Size = 16
    head_size: Size = 64
    remat: bool = dataclasses.field(default=False, compare=False)

    kind: ClassVar[str] = "transformer"

    def module(self, dtype: jnp.dtype) -> TransformerBackbone:
        """The unbound network."""
        return TransformerBackbone(self, dtype, parent=None)


class TransformerBackbone(nn.Module):
    """Convolution, two residual blocks, Transformer, two residual blocks, LayerNorm.

    The reference rotates queries and keys by an angle that depends on the head and not on time,
    so no logit changes and order comes from the convolutions alone; the rotation is left out.
    Source: zhenye234/X-Codec-2.0 vq/codec_decoder_vocos.py.

    Attributes:
      settings: sizes.
      dtype: of matrix products and convolutions; residual stream, norms, softmax are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("embed", "embed", "conv"),
        Rule("prior_net_{i}/norm{n}", "prior_net.{i}.norm{n}", "norm"),
        Rule("prior_net_{i}/conv{n}", "prior_net.{i}.conv{n}", "conv"),
        Rule("layers_{i}/{norm}", "layers.{i}.{norm}", "norm"),
        Rule("layers_{i}/self_attn/{dense}", "layers.{i}.self_attn.{dense}", "dense"),
        Rule("layers_{i}/mlp/{dense}", "layers.{i}.mlp.{dense}", "dense"),
        Rule("post_net_{i}/norm{n}", "post_net.{i}.norm{n}", "norm"),
        Rule("post_net_{i}/conv{n}", "post_net.{i}.conv{n}", "conv"),
        Rule("norm", "norm", "norm"),
    )

    settings: TransformerSettings
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        lengths: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
    ) -> jax.Array:
        """Transform features.

        Args:
          x: `[B, T, C]`.
          lengths: frames of each item; what follows them has no effect (`nn.lengths`).
          attention_mask: bool `[B, T]`, False for frames that attention alone must not look at;
            it is what transformers' NeuCodec does with a padded batch.

        Returns:
          float32 `[B, T, size]`.
        """
        s = self.settings
        mask = mask_of(lengths, x.shape[1]) if attention_mask is None else attention_mask
        x = zero_after(x, lengths)
        x = _conv(s.size, 7, self.dtype, "embed")(x).astype(jnp.float32)
        for i in range(2):
            x = ResidualBlock(self.dtype, name=f"prior_net_{i}")(x, lengths)
        layer = nn.remat(TransformerLayer) if s.remat else TransformerLayer
        for i in range(s.layers):
            x = layer(s, self.dtype, name=f"layers_{i}")(x, mask)
        for i in range(2):
            x = ResidualBlock(self.dtype, name=f"post_net_{i}")(x, lengths)
        return nn.LayerNorm(EPS, name="norm")(x)


def _conv(features: int, taps: int, dtype: jnp.dtype, name: str) -> nn.Conv:
    side = taps // 2
    return nn.Conv(features, (taps,), padding=((side, side),), dtype=dtype, name=name)


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice, plus the input. GroupNorm takes its statistics over
    all frames: every frame depends on every other."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        y = x
        for n in (1, 2):
            y = nn.silu(group_norm(y, lengths, f"norm{n}"))
            y = zero_after(y, lengths)
            y = _conv(x.shape[-1], 3, self.dtype, f"conv{n}")(y).astype(jnp.float32)
        return x + y


def group_norm(x: jax.Array, lengths: jax.Array | None, name: str) -> jax.Array:
    """GroupNorm over each item's own frames, called in a compact module."""
    mask = mask_of(lengths, x.shape[1])
    mask = None if mask is None else jnp.broadcast_to(mask[..., None], x.shape)
    return nn.GroupNorm(GROUPS, epsilon=EPS, name=name)(x, mask=mask)


class TransformerLayer(nn.Module):
    """Attention over all frames and a SiLU feed-forward, each after RMSNorm; no biases."""

    settings: TransformerSettings
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        s = self.settings
        y = nn.RMSNorm(EPS, name="input_layernorm")(x)
        x = x + SelfAttention(s, self.dtype, name="self_attn")(y, mask)
        y = nn.RMSNorm(EPS, name="post_attention_layernorm")(x)
        return x + FeedForward(s, self.dtype, name="mlp")(y)


class SelfAttention(nn.Module):
    """Multi-head attention without positions."""

    settings: TransformerSettings
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        s = self.settings
        shape = (*x.shape[:2], s.heads, s.head_size)
        width = s.heads * s.head_size
        q, k, v = (
            nn.Dense(width, use_bias=False, dtype=self.dtype, name=f"{n}_proj")(x).reshape(shape)
            for n in ("q", "k", "v")
        )
        mixed = attend(q, k, v, mask).reshape(*x.shape[:2], width)
        out = nn.Dense(s.size, use_bias=False, dtype=self.dtype, name="o_proj")(mixed)
        return out.astype(jnp.float32)


class FeedForward(nn.Module):
    """Two linear layers with SiLU, no biases."""

    settings: TransformerSettings
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        s = self.settings
        x = nn.Dense(s.intermediate, use_bias=False, dtype=self.dtype, name="fc1")(x)
        x = nn.Dense(s.size, use_bias=False, dtype=self.dtype, name="fc2")(nn.silu(x))
        return x.astype(jnp.float32)
