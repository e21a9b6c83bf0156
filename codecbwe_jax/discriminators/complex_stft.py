"""Multi-scale discriminator on whole complex spectra (EnCodec)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.stft import stft
from codecbwe_jax.audio.window import hann
from codecbwe_jax.discriminators.mpd import Judgement
from codecbwe_jax.fields import Size
from codecbwe_jax.nn.conv import WeightNormConv
from codecbwe_jax.nn.init import torch_uniform
from codecbwe_jax.weights.rules import Rule

# (kernel, stride, padding, dilation) over (frames, bins), after the first convolution
LAYERS = (
    ((3, 9), (1, 2), (1, 4), (1, 1)),
    ((3, 9), (1, 2), (2, 4), (2, 1)),
    ((3, 9), (1, 2), (4, 4), (4, 1)),
    ((3, 3), (1, 1), (1, 1), (1, 1)),
)


class ComplexSpectrumDiscriminator(nn.Module):
    """Six 2-D convolutions over one complex spectrogram, dilated along frames.

    Attributes:
      window: FFT size and window in samples; the hop is a quarter.
      channels: of every convolution.
      dtype: of the convolutions; spectra are float32.
    """

    window: int
    channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> Judgement:
        """`[B, N]` -> score `[B, frames, bins']` and five maps without it."""
        z = self.spectrogram(waveform)
        x = jnp.stack([z.real, z.imag], axis=-1)
        init = torch_uniform(2 * 3 * 9)
        # this one has no weight norm
        first = nn.Conv(
            self.channels,
            (3, 9),
            padding=((1, 1), (4, 4)),
            dtype=self.dtype,
            kernel_init=init,
            bias_init=init,
            name="conv_in",
        )
        maps = [nn.leaky_relu(first(x), 0.2)]
        for i, (kernel, stride, pad, dilation) in enumerate(LAYERS, 1):
            sides = tuple((p, p) for p in pad)
            conv = WeightNormConv(
                self.channels, kernel, stride, sides, self.dtype, dilation, name=f"convs_{i}"
            )
            maps.append(nn.leaky_relu(conv(maps[-1]), 0.2))
        sides = ((1, 1), (1, 1))
        score = WeightNormConv(1, (3, 3), (1, 1), sides, self.dtype, name="conv_post")(maps[-1])
        return score[..., 0], maps

    def spectrogram(self, waveform: jax.Array) -> jax.Array:
        """Complex `[B, frames, bins]`, over the window's norm."""
        norm = np.sqrt(np.sum(hann(self.window).astype(np.float64) ** 2))
        return stft(waveform, self.window, self.window // 4, padding="none") / np.float32(norm)


class MultiScaleStftDiscriminator(nn.Module):
    """One `ComplexSpectrumDiscriminator` for each window: `[B, N]` -> a list of (score, maps).

    Source: facebookresearch/encodec msstftd.py (arXiv 2210.13438). 0.28 M parameters at the default
    width. Waveforms are not normalised.

    Attributes:
      windows: FFT sizes in samples; the hop is a quarter.
      channels: of every convolution.
      dtype: of the convolutions; spectra are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("windows_{i}/conv_in", "discriminators.{i}.convs.0.conv", "image_conv"),
        Rule("windows_{i}/convs_{j}", "discriminators.{i}.convs.{j}.conv", "wn_image"),
        Rule("windows_{i}/conv_post", "discriminators.{i}.conv_post.conv", "wn_image"),
    )

    windows: Sequence[Size] = (1024, 2048, 512)
    channels: Size = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> list[Judgement]:
        return [
            ComplexSpectrumDiscriminator(w, self.channels, self.dtype, name=f"windows_{i}")(
                waveform
            )
            for i, w in enumerate(self.windows)
        ]
