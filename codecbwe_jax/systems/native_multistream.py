"""Multi-stream ISTFT: as multi-band, with trained synthesis filters, 24 to 48 kHz.

MS-iSTFT and MS-Vocos on the codec's backbone.

Source: arXiv 2210.15975, arXiv 2506.03554
"""

from __future__ import annotations

import dataclasses

from codecbwe_jax.decoders.multiband_head import MultistreamIstftHead
from codecbwe_jax.systems.native_multiband import NativeMultiband


@dataclasses.dataclass(frozen=True)
class NativeMultistream(NativeMultiband):
    """A native decoder with an ISTFT for each stream; attributes as in `NativeMultiband`."""

    @property
    def head(self) -> MultistreamIstftHead:
        return MultistreamIstftHead(*self._sizes, parent=None)
