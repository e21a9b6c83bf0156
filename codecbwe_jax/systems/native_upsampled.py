"""Dual path: the codec's head at half the rate, a Snake upsampler, a head above a crossover.

After LinaCodec, 24 -> 48 kHz there, on the codec's backbone.

Source: ysharma3501/LinaCodec
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.decoders.dual_path_head import DualPathHead
from codecbwe_jax.decoders.head_init import rescaled_head
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.decoders.upsampler import SnakeUpsampler
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import Positive
from codecbwe_jax.systems.native import CLIP_AT_16_KHZ, NativeDecoder


@dataclasses.dataclass(frozen=True)
class NativeUpsampled(NativeDecoder):
    """A native decoder of two paths.

    Attributes:
      crossover_hz: the first head, at half the rate, is heard below; the second above.
      head_init: "equal_hz" starts the first head from the trained one (`decoders.head_init`);
        "scratch" does not. The second is always fresh.
    """

    crossover_hz: Positive = 8000.0
    head_init: Literal["equal_hz", "scratch"] = "equal_hz"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output_hop_length % 2 or self.output_rate // 2 < INPUT_RATE:
            raise UserError(
                f"config.system.output_rate {self.output_rate}: half of it is a path's rate, from "
                f"{INPUT_RATE} Hz up"
            )
        if not 0 < self.crossover_hz < self.output_rate / 4:
            raise UserError(
                f"config.system.crossover_hz {self.crossover_hz:g}: the lower path ends at "
                f"{self.output_rate / 4:g} Hz"
            )
        if self.backbone.size % 64:
            raise UserError(f"config.system.backbone.size {self.backbone.size}: a multiple of 64")

    @property
    def head(self) -> DualPathHead:
        clip = CLIP_AT_16_KHZ * self.output_rate / 2 / INPUT_RATE
        hop_length = self.output_hop_length // 2
        return DualPathHead(
            IstftHead(hop_length, clip, parent=None),
            SnakeUpsampler(dtype=jnp.dtype(self.compute_dtype), parent=None),
            IstftHead(hop_length, clip, parent=None),
            self.output_rate,
            self.crossover_hz,
            parent=None,
        )

    def start_head(
        self, old: Mapping[str, Any], n_fft: int, rate: int, fresh: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        half = self.output_rate // 2
        return dict(fresh) | {
            "low": {"linear": rescaled_head(old, half / rate, 2 * self.output_hop_length)}
        }
