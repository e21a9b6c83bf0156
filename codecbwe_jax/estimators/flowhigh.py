"""FLowHigh's network: the field that leads to a wide-band log-mel from a narrow-band one."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.nn.attention import attend
from codecbwe_jax.nn.conv import DepthwiseConv
from codecbwe_jax.nn.init import torch_uniform
from codecbwe_jax.nn.lengths import mask_of, zero_after
from codecbwe_jax.nn.rotary import rotated
from codecbwe_jax.weights.rules import Rule

EPS = 1e-24  # under the root of a mean of squares
LOGIT_SCALE = 10.0
ROTARY_BASE = 50000.0


class FlowHighNetwork(nn.Module):
    """A Transformer between frames, which hears the time through its norms' gains and offsets.

    Source: resemble-ai/flowhigh models/flow.py, transformer.py (arXiv 2501.04926).

    Attributes:
      size: width.
      layers: Transformer layers.
      heads, head_size: of attention.
      intermediate: width inside the feed-forward layers.
      kernel_size: odd number of taps of the convolution by which frames know their neighbours.
      dtype: of matrix products and convolutions; residual stream, norms, softmax and all that
        depends on the time alone are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("null_cond", "null_cond", "array"),
        Rule("fourier/weights", "sinu_pos_emb.0.weights", "array"),
        Rule("time", "sinu_pos_emb.1", "dense"),
        Rule("to_embed", "to_embed", "dense"),
        Rule("conv_embed/conv", "conv_embed.dw_conv1d.0", "depthwise"),
        Rule("layers_{i}/attention_norm/{to}", "transformer.layers.{i}.2.{to}", "dense"),
        Rule("layers_{i}/attention/{x}_norm", "transformer.layers.{i}.3.{x}_norm.gamma", "array"),
        Rule("layers_{i}/attention/{to}", "transformer.layers.{i}.3.{to}", "dense"),
        Rule("layers_{i}/feed_forward_norm/{to}", "transformer.layers.{i}.4.{to}", "dense"),
        Rule("layers_{i}/feed_forward/expand", "transformer.layers.{i}.5.0", "dense"),
        Rule("layers_{i}/feed_forward/contract", "transformer.layers.{i}.5.3", "dense"),
        Rule("final_norm/scale", "transformer.final_norm.gamma", "array"),
        Rule("to_pred", "to_pred", "dense"),
    )

    size: int = 1024
    layers: int = 2
    heads: int = 16
    head_size: int = 64
    intermediate: int = 2730
    kernel_size: int = 31
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        condition: jax.Array,
        t: jax.Array,
        lengths: jax.Array | None = None,
        dropped: jax.Array | None = None,
    ) -> jax.Array:
        """The field at a place and time.

        Args:
          x: where the flow is, log-mels float32 `[B, T, mels]`.
          condition: the narrow-band log-mels, `[B, T, mels]`.
          t: times in [0, 1], `[B]`.
          lengths: frames of each item, int32 `[B]`; what follows them has no effect (`nn.lengths`).
          dropped: bool `[B]`, True for items that are not told the condition; None: all are.

        Returns:
          float32 `[B, T, mels]`.
        """
        null = self.param("null_cond", nn.initializers.zeros, condition.shape[-1:])
        if dropped is not None:
            # the original does not train it
            null = jax.lax.stop_gradient(null)
            condition = jnp.where(dropped[:, None, None], null, condition)
        waves = FourierFeatures(self.size // 2, name="fourier")(t)
        time = nn.silu(_dense(waves, self.size, "time"))
        joined = jnp.concatenate([x, condition], axis=-1)
        y = _dense(joined, self.size, "to_embed", self.dtype).astype(jnp.float32)
        y = y + PositionConv(self.kernel_size, self.dtype, name="conv_embed")(y, lengths)
        mask = mask_of(lengths, x.shape[1])
        for i in range(self.layers):
            layer = Layer(
                self.heads, self.head_size, self.intermediate, self.dtype, name=f"layers_{i}"
            )
            y = layer(y, time, mask)
        y = nn.RMSNorm(EPS, name="final_norm")(y)
        return _dense(y, x.shape[-1], "to_pred", self.dtype, bias=False).astype(jnp.float32)


def _dense(
    x: jax.Array, features: int, name: str, dtype: jnp.dtype = jnp.float32, bias: bool = True
) -> jax.Array:
    """A linear layer that starts as PyTorch's, called in a compact module."""
    init = torch_uniform(x.shape[-1])
    layer = nn.Dense(features, bias, dtype, kernel_init=init, bias_init=init, name=name)
    return layer(x)


class FourierFeatures(nn.Module):
    """Sines, then cosines of times `[B]` at learnt frequencies: `[B, 2 * count]`."""

    count: int

    @nn.compact
    def __call__(self, t: jax.Array) -> jax.Array:
        weights = self.param("weights", nn.initializers.normal(1.0), (self.count,))
        angle = t[:, None] * weights * (2 * np.pi)
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class PositionConv(nn.Module):
    """Depthwise convolution and GELU, which see zeros after an item's end and give zeros there."""

    kernel_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None) -> jax.Array:
        init = torch_uniform(self.kernel_size)
        conv = DepthwiseConv(self.kernel_size, self.dtype, kernel_init=init, name="conv")
        y = nn.gelu(conv(zero_after(x, lengths)), approximate=False)
        return zero_after(y.astype(jnp.float32), lengths)


class Layer(nn.Module):
    """Attention and a gated feed-forward layer, each after an adaptive RMSNorm."""

    heads: int
    head_size: int
    intermediate: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, mask: jax.Array | None) -> jax.Array:
        y = AdaptiveRmsNorm(name="attention_norm")(x, time)
        x = x + Attention(self.heads, self.head_size, self.dtype, name="attention")(y, mask)
        y = AdaptiveRmsNorm(name="feed_forward_norm")(x, time)
        return x + FeedForward(self.intermediate, self.dtype, name="feed_forward")(y)


class AdaptiveRmsNorm(nn.Module):
    """RMSNorm whose gain and offset are linear in what is told `[B, C]`, the same for all frames;
    fresh ones are 1 and 0."""

    @nn.compact
    def __call__(self, x: jax.Array, told: jax.Array) -> jax.Array:
        init = nn.initializers
        gain, offset = (
            nn.Dense(x.shape[-1], kernel_init=init.zeros, bias_init=start, name=name)(told)[:, None]
            for name, start in (("to_gamma", init.ones), ("to_beta", init.zeros))
        )
        return nn.RMSNorm(EPS, use_scale=False)(x) * gain + offset


class Attention(nn.Module):
    """Multi-head attention of normed queries and keys, turned by their places."""

    heads: int
    head_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        width = self.heads * self.head_size
        qkv = _dense(x, 3 * width, "to_qkv", self.dtype, bias=False)
        split = (*x.shape[:2], self.heads, self.head_size)
        q, k, v = (y.reshape(split) for y in jnp.split(qkv, 3, axis=-1))
        q, k = (
            rotated(self._normed(y, name), ROTARY_BASE).astype(self.dtype)
            for y, name in ((q, "q_norm"), (k, "k_norm"))
        )
        mixed = attend(q, k, v, mask, scale=LOGIT_SCALE).reshape(*x.shape[:2], width)
        out = _dense(mixed, x.shape[-1], "to_out", self.dtype, bias=False)
        return out.astype(jnp.float32)

    def _normed(self, x: jax.Array, name: str) -> jax.Array:
        gain = self.param(name, nn.initializers.ones, (self.heads, 1, self.head_size))
        return nn.RMSNorm(EPS, use_scale=False)(x.astype(jnp.float32)) * gain[:, 0]


class FeedForward(nn.Module):
    """Linear, the first half of its channels gated by GELU of the second, linear."""

    intermediate: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        both = _dense(x, 2 * self.intermediate, "expand", self.dtype)
        value, gate = jnp.split(both, 2, axis=-1)
        gated = value * nn.gelu(gate, approximate=False)
        return _dense(gated, x.shape[-1], "contract", self.dtype).astype(jnp.float32)
