"""Sub-band discriminator: dilated convolutions over the bands of a filter bank (Avocodo)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.discriminators.mpd import Judgement
from codecbwe_jax.fields import Positive, Size, SizeOrNone
from codecbwe_jax.nn.conv import WeightNormConv
from codecbwe_jax.weights.rules import Rule

SLOPE = 0.2


class DilatedLayer(nn.Module):
    """Dilated convolutions side by side, each after its own LeakyReLU added, and a strided one.

    The strided convolution of three taps is padded as the last dilated one is, so that frames are
    added: the original's weights were trained so.

    Attributes:
      features: channels.
      kernel_sizes, dilations: of the convolutions side by side.
      stride: of the last.
      dtype: of the convolutions.
    """

    features: int
    kernel_sizes: Sequence[int]
    dilations: Sequence[int]
    stride: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        total, side = 0.0, 0
        for i, (taps, dilation) in enumerate(zip(self.kernel_sizes, self.dilations, strict=True)):
            side = dilation * (taps - 1) // 2
            conv = WeightNormConv(
                self.features,
                (taps,),
                (1,),
                ((side, side),),
                self.dtype,
                (dilation,),
                name=f"d_convs_{i}",
            )
            total += nn.leaky_relu(conv(x), SLOPE)
        sides = ((side, side),)
        last = WeightNormConv(
            self.features, (3,), (self.stride,), sides, self.dtype, name="post_conv"
        )
        return nn.leaky_relu(last(total), SLOPE)


class BandDiscriminator(nn.Module):
    """Layers over bands as channels.

    Attributes:
      features, strides: of the layers.
      kernel_sizes, dilations: of each layer's convolutions.
      dtype: of the convolutions.
    """

    features: Sequence[int]
    strides: Sequence[int]
    kernel_sizes: Sequence[Sequence[int]]
    dilations: Sequence[Sequence[int]]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> Judgement:
        """`[B, T, C]` -> score `[B, T']` and each layer's map `[B, T'', C]`."""
        maps = []
        layers = zip(self.features, self.kernel_sizes, self.dilations, self.strides, strict=True)
        for i, settings in enumerate(layers):
            x = DilatedLayer(*settings, self.dtype, name=f"convs_{i}")(x)
            maps.append(x)
        score = WeightNormConv(1, (3,), (1,), ((1, 1),), self.dtype, name="post_conv")(x)
        return score[..., 0], maps


class SubbandDiscriminator(nn.Module):
    """Avocodo's SBD: `[B, N]` -> a list of (score, maps).

    The first blocks see bands [first, last) of one bank, in time; a transposed one sees the bands
    of a finer bank as its time and the samples as its channels, so that segments have one length.
    Source: ncsoft/avocodo (arXiv 2206.13404). 10.6 M parameters at the default sizes.

    Attributes:
      band_ranges: of each block.
      transposed: whether each block is.
      features, strides, kernel_sizes, dilations: of each block's layers.
      bank, fine_bank: (bands, taps, cutoff, beta) of the PQMFs.
      dtype: of the convolutions; the banks are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "blocks_{i}/convs_{j}/d_convs_{k}",
            "discriminators.{i}.convs.{j}.d_convs.{k}",
            "wn_conv1d",
        ),
        Rule(
            "blocks_{i}/convs_{j}/post_conv", "discriminators.{i}.convs.{j}.post_conv", "wn_conv1d"
        ),
        Rule("blocks_{i}/post_conv", "discriminators.{i}.post_conv", "wn_conv1d"),
    )

    band_ranges: Sequence[tuple[SizeOrNone, Size]] = ((0, 6), (0, 11), (0, 16), (0, 64))
    transposed: Sequence[bool] = (False, False, False, True)
    features: Sequence[Sequence[Size]] = (*((64, 128, 256, 256, 256),) * 3, (32, 64, 128, 128, 128))
    strides: Sequence[Sequence[Size]] = ((1, 1, 3, 3, 1),) * 4
    kernel_sizes: Sequence[Sequence[Sequence[Size]]] = tuple(((k,) * 3,) * 5 for k in (7, 5, 3, 5))
    dilations: Sequence[Sequence[Sequence[Size]]] = (
        ((5, 7, 11),) * 5,
        ((3, 5, 7),) * 5,
        ((1, 2, 3),) * 5,
        (*((1, 2, 3),) * 3, *((2, 3, 5),) * 2),
    )
    bank: tuple[Size, Size, Positive, Positive] = (16, 256, 0.03, 10.0)
    fine_bank: tuple[Size, Size, Positive, Positive] = (64, 256, 0.1, 9.0)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: jax.Array) -> list[Judgement]:
        """Judge; without a transposed block, segments of any length."""
        bands = Pqmf(*self.bank).analysis(waveform)
        fine = None
        if any(self.transposed):
            fine = Pqmf(*self.fine_bank).analysis(waveform).swapaxes(1, 2)
        blocks = zip(self.features, self.strides, self.kernel_sizes, self.dilations, strict=True)
        judgements = []
        for i, settings in enumerate(blocks):
            first, last = self.band_ranges[i]
            x = fine[:, first:last] if self.transposed[i] else bands[..., first:last]
            block = BandDiscriminator(*settings, self.dtype, name=f"blocks_{i}")
            judgements.append(block(x))
        return judgements


def subband_critic(**settings: object) -> SubbandDiscriminator:
    """The blocks that see bands in time, for segments of any length; settings as above."""
    whole = SubbandDiscriminator()
    shared = ("band_ranges", "transposed", "features", "strides", "kernel_sizes", "dilations")
    defaults = {name: tuple(getattr(whole, name)[:3]) for name in shared}
    return SubbandDiscriminator(**defaults | settings)
