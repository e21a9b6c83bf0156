"""The whole codec as one network: waveform -> tokens -> waveform."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.codec.acoustic_encoder import AcousticEncoder
from codecbwe_jax.codec.fbank import stacked_fbank, stacked_frames
from codecbwe_jax.codec.settings import CodecSettings
from codecbwe_jax.codec.w2v_bert import W2vBert
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.decoders.network import AcousticDecoder, decoder_rules
from codecbwe_jax.decoders.transformer import TransformerBackbone
from codecbwe_jax.nn.fsq import Quantiser
from codecbwe_jax.nn.lengths import mask_of, zero_after
from codecbwe_jax.weights.rules import Rule, under


class SemanticAdapter(nn.Module):
    """Four convolutions over the semantic features `[B, T, C]`.

    The residual adds what the first ReLU gives, not what it gets: the original's ReLU works in
    place on the skipped tensor.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (Rule("conv{n}", "conv{n}", "conv"),)

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        size = x.shape[-1]

        def conv(n: int, x: jax.Array) -> jax.Array:
            return nn.Conv(
                size,
                (3,),
                padding=((1, 1),),
                use_bias=n in (2, 3),
                name=f"conv{n}",
            )(zero_after(x, lengths))

        skipped = nn.relu(conv(1, x))
        x = conv(3, nn.relu(conv(2, skipped)))
        return conv(4, x + skipped)


def acoustic_decoder(settings: CodecSettings) -> AcousticDecoder:
    """The decoder of a codec with these settings."""
    dtype = jnp.dtype(settings.compute_dtype)
    return AcousticDecoder(
        TransformerBackbone(settings.backbone, dtype),
        IstftHead(settings.output_hop_length),
        settings.backbone.size,
        dtype,
    )


class CodecNetwork(nn.Module):
    """X-Codec 2.0 (arXiv 2502.04128) and NeuCodec (arXiv 2509.09550), which differ in settings.

    Whatever the compute type is, the parts that decide a token at little cost are float32: the
    adapter, the linear layer before the quantiser, the quantiser, and in the acoustic encoder
    what its docstring says.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *under("semantic_encoder", "semantic_encoder", W2vBert.torch_rules),
        *under("semantic_adapter", "semantic_adapter", SemanticAdapter.torch_rules),
        *under("acoustic_encoder", "acoustic_encoder", AcousticEncoder.torch_rules),
        Rule("fc_encoder", "fc_encoder", "dense"),
        *under("quantizer", "quantizer", Quantiser.torch_rules),
        *under(
            "acoustic_decoder", "acoustic_decoder", decoder_rules(TransformerBackbone, IstftHead)
        ),
    )

    settings: CodecSettings

    def setup(self) -> None:
        s = self.settings
        dtype = jnp.dtype(s.compute_dtype)
        self.semantic_encoder = W2vBert(s.semantic, dtype)
        self.semantic_adapter = SemanticAdapter()
        self.acoustic_encoder = AcousticEncoder(s.encoder_width, s.ratios, s.backbone.size, dtype)
        width = s.semantic.size + s.backbone.size
        self.fc_encoder = nn.Dense(width, precision=jax.lax.Precision.HIGHEST)
        self.quantizer = Quantiser(s.levels, width)
        self.acoustic_decoder = acoustic_decoder(s)

    def __call__(self, waveform: jax.Array) -> jax.Array:
        """`[B, samples]` at 16 kHz -> its reconstruction at the output rate, with a
        straight-through gradient to the encoders' projections."""
        return self.acoustic_decoder(self.quantise(waveform)[0])

    def quantise(
        self,
        waveform: jax.Array,
        lengths: jax.Array | None = None,
        features: jax.Array | None = None,
        features_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Encode.

        Args:
          waveform: `[B, samples]`, a multiple of the hop, padded by `CodecSettings.padded`.
          lengths: samples of each item, also padded so; each gives what it gives alone.
          features: of the semantic encoder, if they were made elsewhere `[B, T, features]`.
          features_mask: bool `[B, T]`, as transformers masks batches of several lengths. Its
            convolutions still see the padding, so the tokens are not those of each item alone.

        Returns:
          (latents `[B, frames, width]`, tokens int32 `[B, frames]`).
        """
        s = self.settings
        if features is None:
            features = stacked_fbank(waveform, s.fbank_edge, lengths)
        frames = None if lengths is None else stacked_frames(lengths, s.fbank_edge)
        if frames is not None:
            features_mask = mask_of(frames, features.shape[1])
        semantic = jax.lax.stop_gradient(self.semantic_encoder(features, features_mask))
        return self.tokens_of(semantic, self.acoustic_encoder(waveform, lengths), frames)

    def tokens_of(
        self, semantic: jax.Array, acoustic: jax.Array, lengths: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Semantic `[B, T, C]` and acoustic `[B, T', C']` features -> (latents, tokens).

        `lengths` are semantic frames of each item.
        """
        semantic = self.semantic_adapter(semantic, lengths)
        frames = min(semantic.shape[1], acoustic.shape[1])
        x = self.fc_encoder(jnp.concatenate([semantic[:, :frames], acoustic[:, :frames]], axis=-1))
        return self.quantizer(average_pool(x, self.settings.pooling))

    def encode(self, waveform: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """`[B, samples]`, padded -> tokens int32 `[B, frames]`; `lengths` as in `quantise`."""
        return self.quantise(waveform, lengths)[1]

    def latents(self, tokens: jax.Array) -> jax.Array:
        """Tokens `[B, T]` -> what the decoder reads, `[B, T, width]`."""
        return self.quantizer.latents(tokens)

    def decode(self, tokens: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Tokens `[B, T]` -> waveform `[B, T * output_hop_length]`.

        `lengths` are tokens of each item; each gives what it gives alone.
        """
        return self.acoustic_decoder(self.latents(tokens), lengths)


def average_pool(x: jax.Array, factor: int) -> jax.Array:
    """Mean over `factor` frames at a time; frames that do not fill a group are dropped."""
    if factor == 1:
        return x
    frames = x.shape[1] // factor
    groups = x[:, : frames * factor].reshape(x.shape[0], frames, factor, x.shape[2])
    return groups.mean(axis=2)
