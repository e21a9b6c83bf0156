"""Multi-band ISTFT: 2 to 4 bands of 12 or 16 kHz, joined by a PQMF, 24 to 48 kHz.

MB-iSTFT on the codec's backbone. The bands keep the 80 ms window and the bins of the 16 kHz head,
so that the first can start as that head.

Source: arXiv 2210.15975
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.decoders.multiband_head import MultibandIstftHead
from codecbwe_jax.decoders.multiband_init import multiband_head
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import NotNegative, Size
from codecbwe_jax.systems.native import CLIP_AT_16_KHZ, NativeDecoder


@dataclasses.dataclass(frozen=True)
class NativeMultiband(NativeDecoder):
    """A native decoder with an ISTFT for each band.

    Attributes:
      bands: number of bands.
      taps: of the PQMF's filters; the cutoff is the measured optimum (`audio.pqmf`).
      magnitude_clip: largest magnitude in a band; 0 is 100 times the bands' rate / 16000.
      head_init: "filtered" takes the trained head's rows times the filters' responses, "scratch"
        takes nothing.
    """

    bands: Size = 3
    taps: Size = 62
    magnitude_clip: NotNegative = 0.0
    head_init: Literal["filtered", "scratch"] = "filtered"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bands < 2 or self.output_hop_length % self.bands:
            raise UserError(
                f"config.system.bands {self.bands}: 2 or more, a divisor of a token's "
                f"{self.output_hop_length} samples"
            )

    @property
    def head(self) -> MultibandIstftHead:
        return MultibandIstftHead(*self._sizes, parent=None)

    @property
    def _sizes(self) -> tuple[int, int, float, int]:
        band_rate = self.output_rate / self.bands
        clip = self.magnitude_clip or CLIP_AT_16_KHZ * band_rate / INPUT_RATE
        return self.bands, self.output_hop_length // self.bands, clip, self.taps

    def start_head(
        self, old: Mapping[str, Any], n_fft: int, rate: int, fresh: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        linear = multiband_head(old, rate, self.output_rate, Pqmf(self.bands, self.taps))
        if linear["bias"].shape != fresh["linear"]["bias"].shape:
            raise UserError(f"a head of n_fft {n_fft} at {rate} Hz has bins at other frequencies")
        return dict(fresh) | {"linear": linear}
