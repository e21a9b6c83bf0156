"""Multi-resolution discriminator on bands of complex spectra (DAC, Vocos)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.stft import stft
from codecbwe_jax.discriminators.mpd import Judgement, projection
from codecbwe_jax.fields import Share, Size, SizeOrNone
from codecbwe_jax.nn.conv import WeightNormConv
from codecbwe_jax.weights.rules import Rule

# (first, end) of the bands as shares of the bins.
BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
# (kernel, stride, padding) over (frames, bins)
LAYERS = (
    ((3, 9), (1, 1), (1, 4)),
    ((3, 9), (1, 2), (1, 4)),
    ((3, 9), (1, 2), (1, 4)),
    ((3, 9), (1, 2), (1, 4)),
    ((3, 3), (1, 1), (1, 1)),
)


class BandedSpectrumDiscriminator(nn.Module):
    """Five 2-D convolutions for each band of one complex spectrogram.

    Attributes:
      window: FFT size and window in samples; the hop is a quarter.
      channels: of every convolution.
      skip_first_map: leave each band's first activation out of the feature maps (Vocos).
      framing: "center" is torch.stft's (Vocos); "match_stride" gives one frame a hop (DAC).
      dtype: of the convolutions; spectra are float32.
      conditions: see `PeriodDiscriminator`.
      bands: (first, end) of each as shares of the bins.
    """

    window: int
    channels: int
    skip_first_map: bool
    framing: Literal["center", "match_stride"] = "center"
    dtype: jnp.dtype = jnp.float32
    conditions: SizeOrNone = 0
    bands: Sequence[tuple[Share, Share]] = BANDS

    @nn.compact
    def __call__(self, waveform: jax.Array, condition: jax.Array | None = None) -> Judgement:
        """`[B, N]` -> score `[B, frames, bins']` and maps `[B, frames, bins'', C]`, band by band,
        the score last."""
        z = self.spectrogram(waveform)
        x = jnp.stack([z.real, z.imag], axis=-1)
        maps, ends = [], []
        for band, shares in enumerate(self.bands):
            low, high = (int(share * x.shape[2]) for share in shares)
            y = x[:, :, low:high]
            for i, (kernel, stride, pad) in enumerate(LAYERS):
                sides = tuple((p, p) for p in pad)
                name = f"band_convs_{band}_{i}"
                conv = WeightNormConv(self.channels, kernel, stride, sides, self.dtype, name=name)
                y = nn.leaky_relu(conv(y), 0.1)
                if i or not self.skip_first_map:
                    maps.append(y)
            ends.append(y)
        last = jnp.concatenate(ends, axis=2)
        sides = ((1, 1), (1, 1))
        score = WeightNormConv(1, (3, 3), (1, 1), sides, self.dtype, name="conv_post")(last)
        if self.conditions:
            score = score + projection(self.conditions, last, condition)
        return score[..., 0], [*maps, score]

    def spectrogram(self, waveform: jax.Array) -> jax.Array:
        """Complex `[B, frames, bins]`."""
        hop = self.window // 4
        if self.framing == "center":
            return stft(waveform, self.window, hop)
        side = (self.window - hop) // 2
        rest = -waveform.shape[-1] % hop
        padded = jnp.pad(waveform, ((0, 0), (side, side + rest)), mode="reflect")
        return stft(padded, self.window, hop)[:, 2:-2]


class MultiBandedStftDiscriminator(nn.Module):
    """One `BandedSpectrumDiscriminator` for each window: `[B, N]` -> a list of (score, maps).

    Each waveform is brought to mean 0 and peak 0.8 first. Source: gemelo-ai/vocos
    discriminators.py. 1.4 M parameters at the default width.

    Attributes:
      windows: FFT sizes in samples.
      channels, dtype, conditions: see `BandedSpectrumDiscriminator`.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "windows_{i}/band_convs_{b}_{j}",
            "discriminators.{i}.band_convs.{b}.{j}",
            "wn_image",
        ),
        Rule("windows_{i}/conv_post", "discriminators.{i}.conv_post", "wn_image"),
        Rule("windows_{i}/emb/embedding", "discriminators.{i}.emb.weight", "array"),
    )

    windows: Sequence[Size] = (2048, 1024, 512)
    channels: Size = 32
    dtype: jnp.dtype = jnp.float32
    conditions: SizeOrNone = 0

    @nn.compact
    def __call__(self, waveform: jax.Array, condition: jax.Array | None = None) -> list[Judgement]:
        x = normalised(waveform)
        settings = (self.channels, True, "center", self.dtype, self.conditions)
        return [
            BandedSpectrumDiscriminator(window, *settings, name=f"windows_{i}")(x, condition)
            for i, window in enumerate(self.windows)
        ]


def normalised(waveform: jax.Array) -> jax.Array:
    """Each item of `[B, N]` at mean 0 and peak 0.8; silence stays silent."""
    x = waveform - jnp.mean(waveform, axis=-1, keepdims=True)
    return 0.8 * x / (jnp.max(jnp.abs(x), axis=-1, keepdims=True) + 1e-9)
