"""The convolutional generators of iSTFT-VITS: upsampling, residual blocks, a very small ISTFT.

They are made of our parts, which weights of others check so; no system has this backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.pqmf import Pqmf, join
from codecbwe_jax.audio.stft import istft
from codecbwe_jax.decoders.resnet import SLOPE, ResBlock, conv
from codecbwe_jax.nn.conv import WeightNormConvTranspose
from codecbwe_jax.weights.rules import Rule

# MB-iSTFT-VITS' own bank, whose cosines lag by half a sample; trained weights want it
VITS_BANK = Pqmf(4, 62, cutoff=0.15, cosine_lag=-0.5)


class IstftGenerator(nn.Module):
    """Features `[B, T, C]` -> waveform `[B, T * product of rates * hop_length * bands]`.

    Source: MasayaKawamura/MB-iSTFT-VITS models.py (arXiv 2210.15975). Inference with the weights
    of iSTFT-VITS, MB-iSTFT-VITS and MS-iSTFT-VITS; the native systems have the same heads on the
    codec's backbone (`multiband_head.py`).

    Attributes:
      channels: after the first convolution; every stage halves them.
      rates, kernel_sizes: of the upsampling stages.
      block_kernel_sizes, block_dilations: of the residual blocks, whose mean a stage is.
      n_fft, hop_length: of the ISTFT.
      synthesis: "whole": one band; "pqmf": four bands and that repository's bank; "trained": four
        streams and a trained filter.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("conv_pre", "conv_pre", "wn_conv1d"),
        Rule("ups_{i}", "ups.{i}", "wn_conv_transpose1d"),
        Rule("resblocks_{i}/convs{n}_{j}", "resblocks.{i}.convs{n}.{j}", "wn_conv1d"),
        Rule("conv_post", "conv_post", "wn_conv1d"),
        Rule("subband_conv_post", "subband_conv_post", "wn_conv1d"),
        Rule("multistream_conv_post/v", "multistream_conv_post.weight_v", "kernel"),
        Rule("multistream_conv_post/g", "multistream_conv_post.weight_g", "gain_alone"),
    )

    channels: int = 512
    rates: Sequence[int] = (4, 4)
    kernel_sizes: Sequence[int] = (16, 16)
    block_kernel_sizes: Sequence[int] = (3, 7, 11)
    block_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    n_fft: int = 16
    hop_length: int = 4
    synthesis: Literal["whole", "pqmf", "trained"] = "pqmf"

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        x, channels = conv(self.channels, 7, "conv_pre")(z), self.channels
        block = 0
        for i, (rate, taps) in enumerate(zip(self.rates, self.kernel_sizes, strict=True)):
            channels //= 2
            side = (taps - rate) // 2
            x = WeightNormConvTranspose(channels, taps, rate, side, name=f"ups_{i}")(leaky(x))
            total = 0.0
            for size, dilations in zip(self.block_kernel_sizes, self.block_dilations, strict=True):
                total += ResBlock(size, dilations, name=f"resblocks_{block}")(x)
                block += 1
            x = total / len(self.block_kernel_sizes)
            self.sow("intermediates", f"stage_{i}", x)
        x = nn.leaky_relu(x, 0.01)
        # one frame more, so that a centred ISTFT has a hop for every frame
        x = jnp.concatenate([x[:, 1:2], x], axis=1)
        bands = 1 if self.synthesis == "whole" else 4
        name = "conv_post" if bands == 1 else "subband_conv_post"
        x = conv(bands * (self.n_fft + 2), 7, name)(x)
        waves = self.bands(x.reshape(*x.shape[:2], bands, -1))
        if self.synthesis == "whole":
            return waves[..., 0]
        return self.joined(waves)

    def bands(self, outputs: jax.Array) -> jax.Array:
        """`[B, T, bands, n_fft + 2]` -> band waveforms `[B, samples, bands]`."""
        log_magnitude, phase = jnp.split(outputs.swapaxes(1, 2), 2, axis=-1)
        magnitude, phase = jnp.exp(log_magnitude), jnp.pi * jnp.sin(phase)
        spectrum = jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
        return istft(spectrum, self.n_fft, self.hop_length).swapaxes(1, 2)

    def joined(self, waves: jax.Array) -> jax.Array:
        """Bands -> waveform."""
        if self.synthesis == "pqmf":
            return VITS_BANK.synthesis(waves)
        return join(waves, StreamFilter(name="multistream_conv_post")(waves.shape[-1]))


class StreamFilter(nn.Module):
    """A weight-normed filter `[63, streams, 1]` with one gain."""

    @nn.compact
    def __call__(self, streams: int) -> jax.Array:
        v = self.param("v", nn.initializers.lecun_normal(), (63, streams, 1))
        g = self.param("g", nn.initializers.ones, (1,))
        return v * (g / jnp.sqrt(jnp.sum(jnp.square(v))))


def leaky(x: jax.Array) -> jax.Array:
    """LeakyReLU with HiFi-GAN's slope."""
    return nn.leaky_relu(x, SLOPE)
