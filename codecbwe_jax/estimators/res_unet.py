"""NVSR's residual U-Net over a mel spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.fields import Size
from codecbwe_jax.nn.batch_norm import BatchNorm
from codecbwe_jax.nn.init import torch_uniform
from codecbwe_jax.weights.rules import Rule

# of a level, on the way down and on the way up
BLOCKS = 4
# no mel of a waveform in [-1, 1] comes near the second
LEAST_MEL, MOST_LOG10 = 1e-8, 5.0
ORIGINAL = "generator.analysis_module"


def _block_rules(flax: str, torch: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{flax}/norm{{n}}", f"{ORIGINAL}.{torch}.bn{{n}}", "batch_norm"),
        Rule(f"{flax}/conv{{n}}/kernel", f"{ORIGINAL}.{torch}.conv{{n}}.weight", "image_kernel"),
        Rule(f"{flax}/shortcut", f"{ORIGINAL}.{torch}.shortcut", "image_conv"),
    )


class ResBlock(nn.Module):
    """Two times batch norm, leaky ReLU and convolution, residual: `[B, T, M, C]` -> `[B, T, M,
    features]`.

    Attributes:
      features: output channels; where the input has another number, a linear layer changes it.
      dtype: of convolutions; norms are float32.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, training: bool = False) -> jax.Array:
        y = x
        for n in (1, 2):
            y = nn.leaky_relu(BatchNorm(name=f"norm{n}")(y, training), 0.01)
            y = _conv(self.features, 3, f"conv{n}", self.dtype, use_bias=False)(y)
        if x.shape[-1] != self.features:
            x = _conv(self.features, 1, "shortcut", self.dtype)(x)
        return x + y


class Down(nn.Module):
    """Blocks, then means of two by two: `[B, T, M, C]` -> (`[B, T // 2, M // 2, features]`, the
    same before the means).

    Attributes:
      features, dtype: as in `ResBlock`.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, training: bool = False) -> tuple[jax.Array, jax.Array]:
        for j in range(1, BLOCKS + 1):
            x = ResBlock(self.features, self.dtype, name=f"block{j}")(x, training)
        return nn.avg_pool(x, (2, 2), (2, 2)), x


class Up(nn.Module):
    """A transposed convolution that doubles both axes, then blocks that see the way down too:
    `[B, T, M, C]` -> `[B, 2 T, 2 M + 1, features]`.

    Attributes:
      features, dtype: as in `ResBlock`.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array, training: bool = False) -> jax.Array:
        x = nn.relu(BatchNorm(name="norm1")(x, training))
        x = nn.ConvTranspose(
            self.features,
            (3, 3),
            (2, 2),
            padding="VALID",
            use_bias=False,
            dtype=self.dtype,
            kernel_init=torch_uniform(9 * self.features),
            transpose_kernel=True,
            name="conv1",
        )(x)
        x = jnp.concatenate([x[:, :-1], skip], axis=-1)
        for j in range(2, BLOCKS + 2):
            x = ResBlock(self.features, self.dtype, name=f"block{j}")(x, training)
        return x


class ResUNet(nn.Module):
    """What a log mel spectrum lacks: log10 mel `[B, T, mels]` -> float32 `[B, T, mels]`, to be
    added to it.

    The last mel bin is neither seen nor changed: without it every level has `2 n + 1` bins of the
    next one's n. Frames are filled with zeros to whole steps of the lowest level.

    Source: haoheliu/ssr_eval examples/NVSR components/unet.py UNetResComplex_100Mb (arXiv
    2203.14941). 65.2 M parameters at the default widths.

    Attributes:
      channels: of the levels.
      dtype: of convolutions; norms are float32.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *_block_rules("down{i}/block{j}", "encoder_block{i}.conv_block{j}"),
        *_block_rules("up{i}/block{j}", "decoder_block{i}.conv_block{j}"),
        *_block_rules("up{i}", "decoder_block{i}"),
        *_block_rules("center", "conv_block7"),
        *_block_rules("last_block", "after_conv_block1"),
        Rule("last_conv", f"{ORIGINAL}.after_conv2", "image_conv"),
    )

    channels: Sequence[Size] = (32, 64, 128, 256, 384, 384)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, log_mel: jax.Array, training: bool = False) -> jax.Array:
        """Estimate; `training` as in `BatchNorm`.

        Raises:
          ValueError: if the levels do not halve the mel bins.
        """
        frames, step = log_mel.shape[1], 2 ** len(self.channels)
        if log_mel.shape[2] % step:
            raise ValueError(f"{log_mel.shape[2]} mel bins are no multiple of {step}")
        x = jnp.pad(log_mel[:, :, :-1], ((0, 0), (0, -frames % step), (0, 0)))[..., None]
        skips = []
        for i, features in enumerate(self.channels, 1):
            x, skip = Down(features, self.dtype, name=f"down{i}")(x, training)
            skips.append(skip)
        x = ResBlock(self.channels[-1], self.dtype, name="center")(x, training)
        for i, skip in enumerate(reversed(skips), 1):
            x = Up(skip.shape[-1], self.dtype, name=f"up{i}")(x, skip, training)
        x = ResBlock(self.channels[0], self.dtype, name="last_block")(x, training)
        x = _conv(1, 1, "last_conv", self.dtype)(x)[:, :frames, :, 0]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 1))).astype(jnp.float32)


def to_log10(mel: jax.Array) -> jax.Array:
    """Linear mel magnitudes, raised to 1e-8 -> what `ResUNet` sees and is added to."""
    return jnp.log10(jnp.maximum(mel, LEAST_MEL))


def from_log10(log_mel: jax.Array) -> jax.Array:
    """Logarithms -> linear mel magnitudes, 1e5 at most."""
    return 10.0 ** jnp.minimum(log_mel, MOST_LOG10)


def _conv(features: int, taps: int, name: str, dtype: jnp.dtype, use_bias: bool = True) -> nn.Conv:
    return nn.Conv(
        features,
        (taps, taps),
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=nn.initializers.xavier_uniform(),
        name=name,
    )
