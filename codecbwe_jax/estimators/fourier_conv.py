"""Fast Fourier convolutions of waveforms, which are told the bins that their input has."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.stft import istft, stft
from codecbwe_jax.nn.init import KAIMING_NORMAL, torch_uniform
from codecbwe_jax.weights.rules import Rule, under


class BandTransform(nn.Module):
    """Gain and offset of each bin, made of which bins are known (the paper's BSFT).

    Attributes:
      width: inside.
      dtype: of the convolutions.
    """

    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, parts: jax.Array, band: jax.Array) -> jax.Array:
        """Real and imaginary parts `[B, 2, C, frames, bins]`, and unknown and known bins as ones
        `[B, bins, 2]` -> `[B, 2, C, frames, bins]`."""
        channels = parts.shape[2]
        start = torch_uniform(3 * band.shape[-1])
        heard = nn.silu(self._conv(self.width, "mlp_shared", start, start)(band))

        def for_each_bin(name: str) -> jax.Array:
            bias = torch_uniform(3 * self.width)
            y = self._conv(2 * channels, name, KAIMING_NORMAL, bias)(heard).astype(jnp.float32)
            # a channel's real part stands beside its imaginary one
            return y.reshape(*y.shape[:2], channels, 2).transpose(0, 3, 2, 1)[:, :, :, None]

        return parts * (1 + for_each_bin("mlp_gamma")) + for_each_bin("mlp_beta")

    def _conv(
        self,
        features: int,
        name: str,
        kernel_init: nn.initializers.Initializer,
        bias_init: nn.initializers.Initializer,
    ) -> nn.Conv:
        return nn.Conv(
            features,
            (3,),
            padding=((1, 1),),
            dtype=self.dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
            name=name,
        )


class FourierUnit(nn.Module):
    """Gains and offsets of bins, ReLU, and one matrix for all bins: `[B, T, C]` -> float32
    `[B, T, C]`.

    The transform's own order, frames and bins last, is kept until the way back: a transposed
    spectrum would cost more than its product with the matrix.

    Attributes: as of `FourierConv`.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("bsft/mlp_{x}", "bsft.mlp_{x}", "conv"),
        Rule("conv_layer", "conv_layer.weight", "image_kernel"),
    )

    n_fft: int
    hop_length: int
    band_channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, band: jax.Array) -> jax.Array:
        z = stft(x.swapaxes(1, 2), self.n_fft, self.hop_length)
        parts = jnp.stack([z.real, z.imag], axis=1) / math.sqrt(self.n_fft)
        parts = nn.relu(BandTransform(self.band_channels, self.dtype, name="bsft")(parts, band))
        mixed = self._mix(parts.astype(self.dtype)).astype(jnp.float32)
        y = istft(jax.lax.complex(mixed[:, 0], mixed[:, 1]), self.n_fft, self.hop_length)
        return y.swapaxes(1, 2) * math.sqrt(self.n_fft)

    def _mix(self, parts: jax.Array) -> jax.Array:
        batch, _, channels = parts.shape[:3]
        both = 2 * channels
        kernel = self.param("conv_layer", KAIMING_NORMAL, (1, 1, both, both))
        # the data's order of parts and channels, [out, in]; the original's has the parts inside
        kernel = kernel.reshape(channels, 2, channels, 2).transpose(3, 2, 1, 0).reshape(both, both)
        # one for each item: with one for all, the product would have the items inside
        kernels = jnp.broadcast_to(kernel.astype(self.dtype), (batch, both, both))
        return (kernels @ parts.reshape(batch, both, -1)).reshape(parts.shape)


class SpectralTransform(nn.Module):
    """A linear layer on both sides of `x + FourierUnit(x)`: `[B, T, C]` -> `[B, T, features]`.

    Attributes: as of `FourierConv`, and the features, an even number.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("conv{n}", "conv{n}", "pointwise"),
        *under("fu", "fu", FourierUnit.torch_rules),
    )

    features: int
    n_fft: int
    hop_length: int
    band_channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, band: jax.Array) -> jax.Array:
        unit = FourierUnit(self.n_fft, self.hop_length, self.band_channels, self.dtype, name="fu")
        x = nn.silu(self._linear(self.features // 2, "conv1")(x))
        return self._linear(self.features, "conv2")(x + unit(x, band).astype(self.dtype))

    def _linear(self, features: int, name: str) -> nn.Dense:
        start = KAIMING_NORMAL
        return nn.Dense(features, use_bias=False, dtype=self.dtype, kernel_init=start, name=name)


class FourierConv(nn.Module):
    """Channels of which half see their neighbours and half the whole spectrum (the paper's STFC).

    Source: maum-ai/nuwave2 model.py FFC (arXiv 2206.08545), after Chi, Jiang, Mu, "Fast Fourier
    Convolution" (2020).

    Attributes:
      n_fft, hop_length: of the spectra, in samples.
      band_channels: width inside what is made of the band.
      dtype: of convolutions and matrix products; spectra are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("conv{way}", "conv{way}", "conv"),
        *under("convg2g", "convg2g", SpectralTransform.torch_rules),
    )

    n_fft: int
    hop_length: int
    band_channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, band: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`[B, T, C]`, local channels first, and the band as `BandTransform` takes it -> local and
        global channels, each `[B, T, C]`."""
        channels = x.shape[-1]
        near, far = jnp.split(x, 2, axis=-1)
        spectral = SpectralTransform(
            channels, self.n_fft, self.hop_length, self.band_channels, self.dtype, name="convg2g"
        )
        l2l, g2l, l2g = (self._conv(channels, f"conv{way}") for way in ("l2l", "g2l", "l2g"))
        return l2l(near) + g2l(far), l2g(near) + spectral(far, band)

    def _conv(self, features: int, name: str) -> nn.Conv:
        return nn.Conv(
            features,
            (3,),
            padding=((1, 1),),
            use_bias=False,
            dtype=self.dtype,
            kernel_init=KAIMING_NORMAL,
            name=name,
        )
