"""Rescaled ISTFT head: the codec's own decoder with more bins, 24 to 48 kHz.

NeuCodec (arXiv 2509.09550) at 24 kHz, malaysia-ai/X-Codec-2.0-25TPS-24k (arXiv 2601.20185), and
the same at 32, 44.1 and 48 kHz.

Source: NeuCodec, arXiv 2601.20185
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.decoders.head_init import rescaled_head
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import NotNegative, SizeOrNone
from codecbwe_jax.systems.native import CLIP_AT_16_KHZ, NativeDecoder


@dataclasses.dataclass(frozen=True)
class NativeIstft(NativeDecoder):
    """A native decoder with one linear ISTFT head.

    Attributes:
      n_fft: in samples; 0 is four hops, which keeps the distance of bins.
      magnitude_clip: largest magnitude; 0 is 100 times output_rate / 16000, the same headroom as
        at 16 kHz. Published decoders above 16 kHz kept 100.
      widening: hidden width of the residual branch of the head; 0: there is none.
      head_init: how the head starts from a trained one, see `decoders.head_init`; "scratch": it
        does not.
    """

    one_band: ClassVar[bool] = True

    n_fft: SizeOrNone = 0
    magnitude_clip: NotNegative = 0.0
    widening: SizeOrNone = 0
    head_init: Literal["equal_hz", "interpolate", "interpolate_halves", "scratch"] = "equal_hz"

    @property
    def clip(self) -> float:
        return self.magnitude_clip or CLIP_AT_16_KHZ * self.output_rate / INPUT_RATE

    @property
    def head(self) -> IstftHead:
        return IstftHead(
            self.output_hop_length, self.clip, self.n_fft or None, self.widening, parent=None
        )

    def start_head(
        self, old: Mapping[str, Any], n_fft: int, rate: int, fresh: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        if self.head_init == "scratch":
            return fresh
        wanted = fresh["linear"]["bias"].shape[0] - 2
        linear = rescaled_head(old, self.output_rate / rate, wanted, self.head_init)
        return dict(fresh) | {"linear": linear}

    def __post_init__(self) -> None:
        super().__post_init__()
        n_fft, hop = self.n_fft or 4 * self.output_hop_length, self.output_hop_length
        if n_fft % 2 or n_fft < 2 * hop:
            raise UserError(
                f"config.system.n_fft {n_fft}: an even size of at least two hops of {hop}"
            )
