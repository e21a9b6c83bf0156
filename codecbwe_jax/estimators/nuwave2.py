"""NU-Wave 2: the noise in a waveform, by Fourier convolutions."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.window import hann
from codecbwe_jax.estimators.fourier_conv import FourierConv
from codecbwe_jax.nn.init import KAIMING_NORMAL, torch_uniform
from codecbwe_jax.solvers.levels import Level
from codecbwe_jax.weights.rules import Rule, under

LOWEST, HIGHEST = -20.0, 20.0
# where the original's eight steps begin, and where the last one ends
LOG_SNRS = (-2.6, -0.8, 2.0, 6.4, 9.8, 12.9, 14.4, 17.2, HIGHEST)


def level_of(log_snr: np.ndarray | jax.Array) -> Level:
    """Levels whose time is what the network hears: 0 at the highest log-SNR, 1 at the lowest.

    Source: maum-ai/nuwave2 diffusion.py.

    Args:
      log_snr: of any shape, float32. The network hears the last digit of the time, which is the
        original's for NumPy arrays; in a program XLA multiplies by a rounded 1 / 40.
    """
    return Level.of_log_snr((HIGHEST - log_snr) / (HIGHEST - LOWEST), log_snr)


class NoiseLevelEmbedding(nn.Module):
    """Noise levels `[B]`, from 0 to 1 -> `[B, features]`.

    Attributes:
      features: width.
      position_channels: sines and cosines, an even number from 4.
      dtype: of matrix products; phases are float32.
    """

    features: int
    position_channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, level: jax.Array) -> jax.Array:
        # float32 knows phases near 50000 to 0.004: another order of factors gives another sine
        phases = (50000 * level)[:, None] * _frequencies(self.position_channels // 2)
        x = jnp.concatenate([jnp.sin(phases), jnp.cos(phases)], axis=-1)
        for n in (1, 2):
            x = nn.silu(_linear(x.shape[-1], self.features, self.dtype, f"projection{n}")(x))
        return x


class ResidualLayer(nn.Module):
    """Fourier convolution with gates: `[B, T, C]` -> (what the next layer takes, what is added to
    the output), `[B, T, C]` each.

    Attributes: as of `FourierConv`.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *under("ffc1", "ffc1", FourierConv.torch_rules),
        Rule("diffusion_projection", "diffusion_projection", "dense"),
        Rule("output_projection", "output_projection", "pointwise_dense"),
    )

    n_fft: int
    hop_length: int
    band_channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, band: jax.Array, heard: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The band as `BandTransform` takes it, what is heard of the noise level `[B, E]`."""
        channels = x.shape[-1]
        told = _linear(heard.shape[-1], channels, self.dtype, "diffusion_projection")(heard)
        conv = FourierConv(self.n_fft, self.hop_length, self.band_channels, self.dtype, name="ffc1")
        y = jnp.concatenate([_gated(half) for half in conv(x + told[:, None], band)], axis=-1)
        y = _kaiming(channels, 2 * channels, self.dtype, "output_projection")(y)
        residual, skip = jnp.split(y, 2, axis=-1)
        return (x + residual) * math.sqrt(0.5), skip


class NuWave2Network(nn.Module):
    """The noise in a waveform, told how much there is and which bins of the input are known.

    Source: maum-ai/nuwave2 model.py (arXiv 2206.08545), whose checkpoints have "model.model."
    before every name.

    Attributes:
      n_fft, hop_length: of the spectra, in samples.
      layers: residual layers.
      channels: width, even.
      embedding: width of what the layers hear of the noise level.
      band_channels: width inside what is made of the band.
      position_channels: sines and cosines of the noise level, even.
      dtype: of convolutions and matrix products; spectra and phases are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("input_projection", "input_projection", "pointwise_dense"),
        Rule("diffusion_embedding/projection{n}", "diffusion_embedding.projection{n}", "dense"),
        *under("residual_layers_{i}", "residual_layers.{i}", ResidualLayer.torch_rules),
        Rule("skip_projection", "skip_projection", "pointwise_dense"),
        Rule("output_projection", "output_projection", "pointwise_dense"),
    )

    n_fft: int = 1024
    hop_length: int = 256
    layers: int = 15
    channels: int = 64
    embedding: int = 512
    band_channels: int = 64
    position_channels: int = 128
    dtype: jnp.dtype = jnp.float32

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        """What the original's checkpoints hold beside parameters."""
        unit = "residual_layers.{}.ffc1.convg2g.fu.hann_window"
        return {unit.format(i): hann(self.n_fft) for i in range(self.layers)}

    @nn.compact
    def __call__(
        self, noisy: jax.Array, low: jax.Array, level: jax.Array, band: jax.Array
    ) -> jax.Array:
        """Estimate the noise.

        Args:
          noisy: float32 `[B, samples]`, of whole hops, more than n_fft // 2.
          low: the input at the same rate, float32 `[B, samples]`.
          level: the time of `level_of`, float32 `[B]`.
          band: whether the input has a bin, int or bool `[B, n_fft // 2 + 1]`.

        Returns:
          float32 `[B, samples]`.

        Raises:
          ValueError: if the samples are no whole hops, or too few.
        """
        if noisy.shape[1] % self.hop_length:
            raise ValueError(f"{noisy.shape[1]} samples are no whole hops of {self.hop_length}")
        x = jnp.stack([noisy, low], axis=-1)
        x = nn.silu(_kaiming(2, self.channels, self.dtype, "input_projection")(x))
        embed = NoiseLevelEmbedding(
            self.embedding, self.position_channels, self.dtype, name="diffusion_embedding"
        )
        heard, bins = embed(level), jax.nn.one_hot(band.astype(jnp.int32), 2)
        skips = jnp.zeros((), jnp.float32)
        sizes = self.n_fft, self.hop_length, self.band_channels
        for i in range(self.layers):
            layer = ResidualLayer(*sizes, self.dtype, name=f"residual_layers_{i}")
            x, skip = layer(x, bins, heard)
            skips += skip
        y = skips * math.sqrt(1 / self.layers)
        y = nn.silu(_kaiming(self.channels, self.channels, self.dtype, "skip_projection")(y))
        y = _kaiming(self.channels, 1, self.dtype, "output_projection")(y)
        return y[..., 0].astype(jnp.float32)


def _frequencies(count: int) -> np.ndarray:
    """From 1 down to 1 / 10000, float32 as PyTorch rounds it: an exponent that is rounded, and its
    exponential rounded well."""
    step = np.float32(-math.log(10000) / (count - 1))
    exponents = np.arange(count, dtype=np.float32) * step
    return np.exp(exponents.astype(np.float64)).astype(np.float32)


def _gated(x: jax.Array) -> jax.Array:
    gate, value = jnp.split(x, 2, axis=-1)
    return nn.sigmoid(gate) * jnp.tanh(value)


def _linear(inputs: int, features: int, dtype: jnp.dtype, name: str) -> nn.Dense:
    """With PyTorch's first values."""
    start = torch_uniform(inputs)
    return nn.Dense(features, dtype=dtype, kernel_init=start, bias_init=start, name=name)


def _kaiming(inputs: int, features: int, dtype: jnp.dtype, name: str) -> nn.Dense:
    """With Kaiming's, but for the bias."""
    kernel, bias = KAIMING_NORMAL, torch_uniform(inputs)
    return nn.Dense(features, dtype=dtype, kernel_init=kernel, bias_init=bias, name=name)
