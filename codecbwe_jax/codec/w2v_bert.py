"""The semantic encoder: w2v-BERT 2.0, a Conformer with clipped relative positions.

arXiv 2312.05187; facebook/w2v-bert-2.0 as transformers' Wav2Vec2BertModel computes it (eval
mode). X-Codec 2.0 and NeuCodec read the output of layer 16 of 24; 387 M parameters until there.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.fields import LayersOrNone, Size, SizeOrNone
from codecbwe_jax.nn.attention import attend
from codecbwe_jax.nn.conv import DepthwiseConv
from codecbwe_jax.weights.rules import Rule

EPS = 1e-5


@dataclasses.dataclass(frozen=True)
class SemanticSettings:
    """Sizes of the semantic encoder.

    Attributes:
      size: width of the residual stream.
      layers: Conformer layers.
      heads: attention heads; they share `size`.
      intermediate: width of the feed-forward layers.
      features: width of the input, two stacked mel frames.
      kernel_size: taps of the causal depthwise convolution.
      left, right: relative distances in frames beyond which all positions look alike.
    """

    size: Size = 1024
    layers: LayersOrNone = 16
    heads: Size = 16
    intermediate: Size = 4096
    features: Literal[160] = 160
    kernel_size: Size = 31
    left: SizeOrNone = 64
    right: SizeOrNone = 8


class W2vBert(nn.Module):
    """`[B, T, features]` -> `[B, T, size]`.

    Attributes:
      settings: sizes.
      dtype: of matrix products; the residual stream, norms and softmax are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("masked_spec_embed", "masked_spec_embed", "array"),
        Rule("feature_projection_norm", "feature_projection.layer_norm", "norm"),
        Rule("feature_projection", "feature_projection.projection", "dense"),
        Rule("layers_{i}/{norm}", "encoder.layers.{i}.{norm}", "norm"),
        Rule("layers_{i}/ffn{n}/{dense}", "encoder.layers.{i}.ffn{n}.{dense}", "dense"),
        Rule("layers_{i}/self_attn/{dense}", "encoder.layers.{i}.self_attn.{dense}", "dense"),
        Rule(
            "layers_{i}/self_attn/distance_embedding",
            "encoder.layers.{i}.self_attn.distance_embedding.weight",
            "array",
        ),
        Rule("layers_{i}/conv_module/{norm}", "encoder.layers.{i}.conv_module.{norm}", "norm"),
        Rule(
            "layers_{i}/conv_module/pointwise_conv{n}",
            "encoder.layers.{i}.conv_module.pointwise_conv{n}",
            "pointwise",
        ),
        Rule(
            "layers_{i}/conv_module/depthwise_conv",
            "encoder.layers.{i}.conv_module.depthwise_conv",
            "depthwise",
        ),
    )

    settings: SemanticSettings
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Encode.

        Args:
          features: `[B, T, features]`.
          mask: bool `[B, T]`, False where a shorter item is padded; None: nothing is.
        """
        s = self.settings
        # of pre-training only, kept so that a checkpoint written from here is whole
        self.param("masked_spec_embed", nn.initializers.uniform(1.0), (s.size,))
        x = nn.LayerNorm(EPS, name="feature_projection_norm")(features.astype(jnp.float32))
        x = _dense(s.size, self.dtype, "feature_projection")(x)
        if mask is not None:
            x = jnp.where(mask[..., None], x, 0.0)
        for i in range(s.layers):
            x = ConformerLayer(s, self.dtype, name=f"layers_{i}")(x, mask)
        return x


def _dense(features: int, dtype: jnp.dtype, name: str) -> nn.Dense:
    init = nn.initializers.normal(0.02)
    return nn.Dense(features, dtype=dtype, kernel_init=init, name=name)


class ConformerLayer(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, LayerNorm."""

    settings: SemanticSettings
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        s, dtype = self.settings, self.dtype

        def norm(name: str, x: jax.Array) -> jax.Array:
            return nn.LayerNorm(EPS, name=name)(x)

        x = x + 0.5 * FeedForward(s, dtype, name="ffn1")(norm("ffn1_layer_norm", x))
        x = x + Attention(s, dtype, name="self_attn")(norm("self_attn_layer_norm", x), mask)
        x = x + ConvolutionModule(s, dtype, name="conv_module")(x, mask)
        x = x + 0.5 * FeedForward(s, dtype, name="ffn2")(norm("ffn2_layer_norm", x))
        return norm("final_layer_norm", x)


class FeedForward(nn.Module):
    """Two linear layers with SiLU."""

    settings: SemanticSettings
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.silu(_dense(self.settings.intermediate, self.dtype, "intermediate_dense")(x))
        return _dense(self.settings.size, self.dtype, "output_dense")(x).astype(jnp.float32)


class Attention(nn.Module):
    """Attention over all frames; relative distances are clipped, not windowed."""

    settings: SemanticSettings
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        s, dtype = self.settings, self.dtype
        split = (*x.shape[:2], s.heads, s.size // s.heads)
        q, k, v = (
            _dense(s.size, dtype, f"linear_{name}")(x).reshape(split) for name in ("q", "k", "v")
        )
        table = self.param(
            "distance_embedding",
            nn.initializers.normal(0.02),
            (s.left + s.right + 1, s.size // s.heads),
        )
        distances = relative_logits(q, table.astype(dtype), s.left, s.right)
        mixed = attend(q, k, v, mask, distances).reshape(x.shape)
        return _dense(s.size, dtype, "linear_out")(mixed).astype(jnp.float32)


def relative_logits(q: jax.Array, table: jax.Array, left: int, right: int) -> jax.Array:
    """`q_i . table[clip(j - i, -left, right) + left]`, not scaled.

    The product with the whole table comes first and is then gathered: `[T, T, head]` never
    exists.

    Args:
      q: `[B, T, heads, head]`.
      table: `[left + right + 1, head]`.
      left, right: clipping distances in frames.

    Returns:
      float32 `[B, heads, T, T]` (query, key).
    """
    frames = q.shape[1]
    products = jnp.einsum("bihd,rd->bhir", q, table, preferred_element_type=jnp.float32)
    positions = np.arange(frames)
    distance = np.clip(positions[None, :] - positions[:, None], -left, right) + left
    index = jnp.broadcast_to(distance, (*products.shape[:2], frames, frames))
    return jnp.take_along_axis(products, index, axis=-1)


class ConvolutionModule(nn.Module):
    """LayerNorm, gated linear unit, causal depthwise convolution, LayerNorm, SiLU, linear."""

    settings: SemanticSettings
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        s, dtype = self.settings, self.dtype
        init = nn.initializers.normal(0.02)
        x = nn.LayerNorm(EPS, name="layer_norm")(x)
        if mask is not None:
            x = jnp.where(mask[..., None], x, 0.0)
        x = nn.Dense(
            2 * s.size, use_bias=False, dtype=dtype, kernel_init=init, name="pointwise_conv1"
        )(x)
        value, gate = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        x = value * nn.sigmoid(gate)
        x = DepthwiseConv(s.kernel_size, causal=True, use_bias=False, name="depthwise_conv")(x)
        x = nn.silu(nn.LayerNorm(EPS, name="depthwise_layer_norm")(x))
        return nn.Dense(
            s.size, use_bias=False, dtype=dtype, kernel_init=init, name="pointwise_conv2"
        )(x).astype(jnp.float32)
