"""A causal U-Net in the manner of BBWEXNet: sample shuffle, NSVQ if wanted.

Gómez, Vali, Bäckström, "Low-complexity Real-time Neural Network for Blind Bandwidth Extension of
Wideband Speech", publishes the chain (causal sinc interpolation, a U-Net of four levels with sample
shuffle, NSVQ at the bottleneck); widths, kernels and strides here are ours. At full size 1 439 266
parameters, 4769 of them gains of weight norms, and 1.5 GMAC/s; 10 ms frames.

Source: EUSIPCO 2023, no public code
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.fields import Count, Rate, Size, SizeOrNone
from codecbwe_jax.nn.causal import CausalConv, with_past
from codecbwe_jax.nn.nsvq import Nsvq, codes_used, replace_unused
from codecbwe_jax.systems.base import Features, Params
from codecbwe_jax.systems.streaming import StreamingSystem
from codecbwe_jax.weights.rules import Rule

DILATIONS = ((1,), (1, 3), (1, 3, 9), (1, 3, 9))
RESAMPLER = "hann24"


class ResidualUnit(nn.Module):
    """`x + conv1(ELU(conv3 dilated(ELU(x))))`, causal.

    Attributes:
      dilation: in frames.
    """

    dilation: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = x.shape[-1]
        y = CausalConv(size, 3, dilation=self.dilation, weight_norm=True, name="conv1")(nn.elu(x))
        return x + CausalConv(size, 1, weight_norm=True, name="conv2")(nn.elu(y))


class CausalUNet(nn.Module):
    """`[B, n]` at the low rate -> `[B, n * product]`, later by the interpolator's look-ahead.

    Attributes:
      ratio: of the two rates.
      strides: of the four levels.
      widths: of the input and the four levels.
      bottleneck: width between encoder and decoder.
      codes: of the quantiser there; 0: none.
      final_scale: of the last convolution's first values; small, so that training begins near the
        interpolated input.
    """

    ratio: int
    strides: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: int
    codes: int
    final_scale: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = CausalSinc(self.ratio, name="upsample")(x)[..., None]
        y = self._conv(self.widths[0], 7, "conv_in")(wide)
        skips = []
        for i, stride in enumerate(self.strides):
            y = self._units(y, i, "encoder")
            skips.append(y)
            name, size = f"encoder_{i}_down", self.widths[i + 1]
            down = CausalConv(size, 2 * stride, stride, weight_norm=True, name=name)
            y = down(nn.elu(y))
        y = self._conv(self.bottleneck, 3, "squeeze")(nn.elu(y))
        if self.codes:
            y = Nsvq(self.codes, name="quantizer")(y)
        y = self._conv(self.widths[-1], 3, "widen")(y)
        for i in reversed(range(len(self.strides))):
            size = self.widths[i]
            y = self._conv(size * self.strides[i], 2, f"decoder_{i}_up")(nn.elu(y))
            # sample shuffle: the phases of a frame stand one after another
            y = y.reshape(y.shape[0], -1, size) + skips[i]
            y = self._units(y, i, "decoder")
        return (self._conv(1, 7, "conv_out")(nn.elu(y)) * self.final_scale + wide)[..., 0]

    def _units(self, y: jax.Array, level: int, side: str) -> jax.Array:
        for j, dilation in enumerate(DILATIONS[level]):
            y = ResidualUnit(dilation, name=f"{side}_{level}_unit_{j}")(y)
        return y

    def _conv(self, features: int, taps: int, name: str) -> CausalConv:
        return CausalConv(features, taps, weight_norm=True, name=name)


class CausalSinc(nn.Module):
    """`audio.resample` by a whole ratio, later by the samples that it looks ahead.

    Attributes:
      ratio: of the two rates.
    """

    ratio: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, width = sinc_kernel(1, self.ratio, SINC_FILTERS[RESAMPLER])
        taps = kernel[:, : 2 * width + 1]
        y = jax.lax.conv_general_dilated(
            with_past(self, x, 2 * width)[..., None],
            jnp.asarray(taps.T[:, None]),
            (1,),
            "VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
            precision=jax.lax.Precision.HIGHEST,
        )
        return y.reshape(x.shape[0], -1)


@dataclasses.dataclass(frozen=True)
class BbwexNet(StreamingSystem):
    """The U-Net as a system.

    Attributes:
      input_rate, output_rate: 16000, and 32000 or 48000 Hz.
      widths: of the input's level and the four below it.
      bottleneck: width of the narrowest place.
      codes: of the quantiser there; 0: none.
      replace_every: batches after which codes that fewer than one in a hundred used are replaced.
      compute_dtype: "float32"; nothing here is large enough for another.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("{conv}", "{conv}", "wn_conv1d"),
        Rule("{unit}/{conv}", "{unit}.{conv}", "wn_conv1d"),
        Rule("quantizer/codebooks", "quantizer.codebooks", "array"),
    )

    input_rate: Rate = 16000
    output_rate: Rate = 48000
    widths: tuple[Size, Size, Size, Size, Size] = (16, 32, 64, 128, 160)
    bottleneck: Size = 64
    codes: SizeOrNone = 0
    replace_every: Count = 1000
    compute_dtype: Literal["float32"] = "float32"

    @property
    def ratio(self) -> int:
        return self.output_rate // self.input_rate

    @property
    def strides(self) -> tuple[int, ...]:
        return (self.ratio, 4, 5, 8)

    @property
    def frame_length(self) -> int:
        return math.prod(self.strides[1:])

    @property
    def lag(self) -> int:
        return self.ratio * sinc_kernel(1, self.ratio, SINC_FILTERS[RESAMPLER])[1]

    @property
    def network(self) -> CausalUNet:
        return CausalUNet(self.ratio, self.strides, tuple(self.widths), self.bottleneck, self.codes)

    @property
    def receptive_field(self) -> int:
        """Into the past; ahead there is only the frame and the lag."""
        past, step = 6 + 6, 1
        for dilations, stride in zip(DILATIONS, self.strides, strict=True):
            # units on both sides, the convolution down, and the one up at the slower rate
            past += step * (2 * 2 * sum(dilations) + stride) + step * stride
            step *= stride
        past += step * 4
        return math.ceil(past / self.ratio) + 2 * self.lag // self.ratio + self.frame_length

    def interpolate(self, inputs: jax.Array) -> jax.Array:
        """The sinc alone: see `StreamingSystem.interpolate`."""
        return CausalSinc(self.ratio).bind({})(inputs)

    def predict(self, params: Params, batch: Mapping[str, jax.Array]) -> Features:
        """The predicted "waveform"; the quantiser's noise is each sample's own, by its index."""
        if not self.codes:
            return super().predict(params, batch)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), batch["index"])
        noise = {"quantizer": {"keys": keys}}
        padded, kept = self.framed(batch["input"])
        waveform, taken = self.network.apply(
            {"params": params, "noise": noise}, padded, mutable=["codes"]
        )
        (indices,) = taken["codes"]["quantizer"]["indices"]
        used = codes_used(indices, self.codes)
        return {"waveform": waveform[:, kept][:, : batch["target"].shape[1]], "codes_used": used}

    def training_state(self) -> dict[str, jax.Array]:
        """How many batches there were since codes were last replaced, and how many of them used
        each code."""
        if not self.codes:
            return {}
        return {"batches": jnp.float32(0), "used": jnp.zeros(self.codes, jnp.float32)}

    def observe(
        self,
        state: Mapping[str, jax.Array],
        predicted: Features,
        mean: Callable[[jax.Array], jax.Array],
    ) -> dict[str, jax.Array]:
        """A batch uses a code if any device's part of it does."""
        used = (mean(predicted["codes_used"]) > 0).astype(jnp.float32)
        return {"batches": state["batches"] + 1, "used": state["used"] + used}

    def upkeep(
        self, params: Params, state: Mapping[str, jax.Array], step: jax.Array
    ) -> tuple[Params, Mapping[str, jax.Array]]:
        """Every `replace_every` batches, codes that hardly any of them used become others."""

        def replaced(codebook: jax.Array, state: dict[str, jax.Array]) -> Any:
            key = jax.random.fold_in(jax.random.key(0), step)
            fresh = replace_unused(codebook, state["used"], state["batches"], key)
            return fresh, jax.tree.map(jnp.zeros_like, state)

        codebook, state = jax.lax.cond(
            state["batches"] >= self.replace_every,
            replaced,
            lambda *unchanged: unchanged,
            params["quantizer"]["codebooks"],
            dict(state),
        )
        return {**params, "quantizer": {"codebooks": codebook}}, state
