"""Multi-resolution discriminator on magnitudes (UnivNet, BigVGAN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.stft import stft
from codecbwe_jax.discriminators.mpd import Judgement
from codecbwe_jax.discriminators.spectral import SpectrumDiscriminator
from codecbwe_jax.fields import Size
from codecbwe_jax.weights.rules import Rule

# (kernel, stride, padding) over (frames, bins): the long, strided axis is time
LAYERS = (
    ((9, 3), (1, 1), (4, 1)),
    ((9, 3), (2, 1), (4, 1)),
    ((9, 3), (2, 1), (4, 1)),
    ((9, 3), (2, 1), (4, 1)),
    ((3, 3), (1, 1), (1, 1)),
)


class MultiResolutionMagnitudeDiscriminator(nn.Module):
    """One `SpectrumDiscriminator` for each STFT: `[B, N]` -> a list of (score, maps).

    Sources: UnivNet (arXiv 2106.07889) as NVIDIA/BigVGAN discriminators.py has it; the window is
    rectangular.

    Attributes:
      resolutions: (n_fft, hop_length, win_length) in samples.
      channels: of every convolution.
      dtype: of the convolutions; spectra are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("resolutions_{i}/convs_{j}", "discriminators.{i}.convs.{j}", "wn_conv2d"),
        Rule("resolutions_{i}/conv_post", "discriminators.{i}.conv_post", "wn_conv2d"),
    )

    resolutions: Sequence[tuple[Size, Size, Size]] = (
        (1024, 120, 600),
        (2048, 240, 1200),
        (512, 50, 240),
    )
    channels: Size = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> list[Judgement]:
        judgements = []
        for i, resolution in enumerate(self.resolutions):
            z = stft(waveform, *resolution, window="rectangular", padding="same")
            judge = SpectrumDiscriminator(
                self.channels, self.dtype, LAYERS, name=f"resolutions_{i}"
            )
            judgements.append(judge(jnp.abs(z)))
        return judgements
