"""Multi-resolution amplitude and phase discriminators of AP-BWE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.stft import phase, stft
from codecbwe_jax.discriminators.mpd import Judgement
from codecbwe_jax.fields import Size
from codecbwe_jax.nn.conv import WeightNormConv
from codecbwe_jax.weights.rules import Rule

# (kernel, stride, padding) over (frames, bins); yxlu-0102/AP-BWE has (bins, frames).
LAYERS = (
    ((5, 7), (2, 2), (2, 3)),
    ((3, 5), (1, 2), (1, 2)),
    ((3, 5), (2, 2), (1, 2)),
    ((3, 3), (1, 2), (1, 1)),
    ((3, 3), (2, 2), (1, 1)),
)


class SpectrumDiscriminator(nn.Module):
    """Five 2-D convolutions over one spectrogram.

    Attributes:
      channels: of every convolution.
      dtype: of the convolutions.
      layers: (kernel, stride, padding) over (frames, bins) of each.
    """

    channels: int
    dtype: jnp.dtype = jnp.float32
    layers: Sequence[Sequence[tuple[int, int]]] = LAYERS

    @nn.compact
    def __call__(self, spectrogram: jax.Array) -> Judgement:
        """`[B, frames, bins]` -> score `[B, frames', bins']` and six maps, the last the score."""
        x, maps = spectrogram[..., None], []
        for i, (kernel, stride, pad) in enumerate(self.layers):
            sides = tuple((p, p) for p in pad)
            conv = WeightNormConv(
                self.channels, kernel, stride, sides, self.dtype, name=f"convs_{i}"
            )
            x = nn.leaky_relu(conv(x), 0.1)
            maps.append(x)
        sides = ((1, 1), (1, 1))
        x = WeightNormConv(1, (3, 3), (1, 1), sides, self.dtype, name="conv_post")(x)
        maps.append(x)
        return x[..., 0], maps


class MultiResolutionDiscriminator(nn.Module):
    """One `SpectrumDiscriminator` for each STFT: `[B, N]` -> a list of (score, maps).

    Source: yxlu-0102/AP-BWE models/model.py. The STFT has a rectangular window. 0.60 M
    parameters at the default width.

    Attributes:
      sees: "amplitude" (MRAD) or "phase" (MRPD).
      resolutions: (n_fft, hop_length, win_length) in samples.
      channels: of every convolution.
      dtype: of the convolutions; spectra are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("resolutions_{i}/convs_{j}", "discriminators.{i}.convs.{j}", "wn_conv2d"),
        Rule("resolutions_{i}/conv_post", "discriminators.{i}.conv_post", "wn_conv2d"),
    )

    sees: Literal["amplitude", "phase"]
    resolutions: Sequence[tuple[Size, Size, Size]] = (
        (512, 128, 512),
        (1024, 256, 1024),
        (2048, 512, 2048),
    )
    channels: Size = 64
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        self.judges = [
            SpectrumDiscriminator(self.channels, self.dtype, name=f"resolutions_{i}")
            for i in range(len(self.resolutions))
        ]

    def spectrogram(self, waveform: jax.Array, resolution: Sequence[int]) -> jax.Array:
        """What a sub-discriminator sees: `[B, N]` -> `[B, frames, bins]`."""
        z = stft(waveform, *resolution, window="rectangular")
        return jnp.abs(z) if self.sees == "amplitude" else phase(z)

    def __call__(self, waveform: jax.Array) -> list[Judgement]:
        return self.judge([self.spectrogram(waveform, r) for r in self.resolutions])

    def judge(self, spectrograms: Sequence[jax.Array]) -> list[Judgement]:
        """The same from ready spectrograms, one for each resolution."""
        return [judge(s) for judge, s in zip(self.judges, spectrograms, strict=True)]
