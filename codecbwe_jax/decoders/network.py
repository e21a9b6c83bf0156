"""A decoder as a whole, whatever its backbone and its head are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.nn.fsq import Quantiser
from codecbwe_jax.weights.rules import Rule, under


def decoder_rules(backbone: type[nn.Module], head: type[nn.Module]) -> tuple[Rule, ...]:
    """Weight map of an `AcousticDecoder`, under the names of transformers' codecs."""
    return (
        Rule("fc", "fc", "dense"),
        *under("backbone", "", backbone.torch_rules),
        *under("head", "head", head.torch_rules),
    )


class AcousticDecoder(nn.Module):
    """Latents `[B, T, C]` -> waveform `[B, T * hop]`: a linear layer, a backbone, a head.

    Attributes:
      backbone: (`[B, T, size]`, lengths, attention mask) -> float32 `[B, T, size]`.
      head: (float32 `[B, T, size]`, lengths) -> waveform.
      size: width of the backbone.
      dtype: of the linear layer.
    """

    backbone: nn.Module
    head: nn.Module
    size: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        latents: jax.Array,
        lengths: jax.Array | None = None,
        attention_mask: jax.Array | None = None,
    ) -> jax.Array:
        """Decode; `lengths` and `attention_mask` as in `TransformerBackbone`."""
        x = nn.Dense(self.size, dtype=self.dtype, name="fc")(latents)
        return self.head(self.backbone(x, lengths, attention_mask), lengths)


class TokenDecoder(nn.Module):
    """Tokens int32 `[B, T]` -> waveform; its parameters are a codec's without the encoder.

    Attributes:
      quantizer: of the codec; only the way out of it is used.
      acoustic_decoder: what follows.
    """

    quantizer: Quantiser
    acoustic_decoder: AcousticDecoder

    def __call__(self, tokens: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Decode; `lengths` are tokens of each item, and each gives what it gives alone."""
        return self.acoustic_decoder(self.quantizer.latents(tokens), lengths)
