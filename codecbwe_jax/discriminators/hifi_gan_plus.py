"""The critics of HiFi-GAN+: the waveform at four rates, and its log-mel spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.mel import MelSettings, log_mel
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.discriminators.mpd import Judgement
from codecbwe_jax.discriminators.scale import ScaleDiscriminator
from codecbwe_jax.fields import Size
from codecbwe_jax.weights.rules import Rule

RATE = 48000
MEL = MelSettings(RATE, 2048, 480, 128, 1200, scale="htk", floor=0.0, offset=1e-5)


class MelDiscriminator(nn.Module):
    """Gated 2-D convolutions with batch norms over a log-mel spectrum.

    Statistics are of all items that are judged at once on a device.

    Attributes:
      channels: of the gated convolutions; half of them remain after the gate.
      trains: norms take the statistics of what they see, and remember them; else what they
        remember.
      dtype: of the convolutions.
    """

    channels: int = 64
    trains: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> Judgement:
        """`[B, N]` -> score `[B]` and maps `[B, mels', frames, C]`."""
        x, maps = log_mel(waveform, MEL).swapaxes(1, 2)[..., None], []
        for i, size in enumerate((7, 4, 4, 4)):
            conv = nn.Conv(
                self.channels,
                (size, size),
                (1, 2),
                padding=((1, 1), (2, 2)),
                use_bias=False,
                dtype=self.dtype,
                name=f"convs_{i}",
            )
            norm = nn.BatchNorm(not self.trains, momentum=0.9, name=f"norms_{i}")
            x, gate = jnp.split(norm(conv(x).astype(jnp.float32)), 2, axis=-1)
            x = x * nn.sigmoid(gate)
            maps.append(x)
        last = nn.Conv(1, (15, 5), (1, 2), padding="VALID", dtype=self.dtype, name="conv_post")
        return jnp.mean(last(x), axis=(1, 2, 3)), maps


class HifiGanPlusDiscriminator(nn.Module):
    """One critic of mels and one of waveforms for each rate: `[B, N]` at 48 kHz -> a list of
    (score `[B]`, maps). Half a second or more; at 6 kHz the convolutions need 4951 samples.

    Source: brentspell/hifi-gan-bwe models.py Discriminator (after Su, Wang, Finkelstein, Jin,
    ICASSP 2021). 22.6 M parameters at the default widths.

    Attributes:
      channels, groups: of the convolutions over waveforms.
      mel_channels, trains: see `MelDiscriminator`.
      dtype: of the convolutions.
    """

    # batch norms: true and false items are judged at once
    together: ClassVar[bool] = True
    rates: ClassVar[tuple[int, ...]] = (6000, 12000, 24000, RATE)
    kernels: ClassVar[tuple[int, ...]] = (15, 41, 41, 41, 41, 5)
    strides: ClassVar[tuple[int, ...]] = (1, 4, 4, 4, 4, 1)
    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("mel/convs_{i}/kernel", "_dsc.0._convs.{i}.0.weight", "image_kernel"),
        Rule("mel/norms_{i}", "_dsc.0._convs.{i}.1", "norm"),
        Rule("mel/conv_post", "_dsc.0._postnet", "image_conv"),
        *(
            rule
            for i in range(len(rates))
            for rule in (
                Rule(f"wave_{i}/convs_{{j}}", f"_dsc.{i + 1}._convs.{{j}}", "conv"),
                Rule(f"wave_{i}/conv_post", f"_dsc.{i + 1}._postnet", "conv"),
            )
        ),
    )
    # of the collection "batch_stats"
    state_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("mel/norms_{i}/{x}", "_dsc.0._convs.{i}.1.running_{x}", "array"),
    )

    channels: Sequence[Size] = (16, 64, 256, 1024, 1024, 1024)
    groups: Sequence[Size] = (1, 4, 16, 64, 256, 1)
    mel_channels: Size = 64
    trains: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> list[Judgement]:
        mel = MelDiscriminator(self.mel_channels, self.trains, self.dtype, name="mel")
        judgements = [mel(waveform)]
        layers = self.channels, self.kernels, self.strides, self.groups
        for i, rate in enumerate(self.rates):
            wave = ScaleDiscriminator(*layers, "none", 1, self.dtype, name=f"wave_{i}")
            score, maps = wave(resample(waveform, RATE, rate, "torchaudio"))
            judgements.append((jnp.mean(score, axis=1), maps[:-1]))
        return judgements
