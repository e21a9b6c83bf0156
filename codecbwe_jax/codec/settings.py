"""Sizes and rates of a codec, and what follows from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from codecbwe_jax.codec.w2v_bert import SemanticSettings
from codecbwe_jax.decoders.transformer import TransformerSettings
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import Levels, Precision, Rate, Size

INPUT_RATE = 16000


@dataclasses.dataclass(frozen=True)
class CodecSettings:
    """A codec of X-Codec 2.0's kind; the defaults are X-Codec 2.0 itself.

    Attributes:
      family: "xcodec2" or "neucodec": how the semantic features are framed, and which
        transformers model a folder written from it is.
      output_rate: of the decoder, in Hz.
      semantic, backbone: sizes of the semantic encoder and of the decoder.
      encoder_width: channels of the acoustic encoder's first convolution.
      ratios: its strides; their product is the hop in samples at 16 kHz.
      levels: of the quantiser's dimensions.
      pooling: frames averaged for one token (2 in the 25 Hz variant).
      compute_dtype: "float32" or "bfloat16".
    """

    family: Literal["xcodec2", "neucodec"] = "xcodec2"
    output_rate: Rate = 16000
    semantic: SemanticSettings = dataclasses.field(default_factory=SemanticSettings)
    backbone: TransformerSettings = dataclasses.field(default_factory=TransformerSettings)
    encoder_width: Size = 48
    ratios: tuple[Size, ...] = (2, 2, 4, 4, 5)
    levels: tuple[Levels, ...] = (4,) * 8
    pooling: Size = 1
    compute_dtype: Precision = "float32"

    def __post_init__(self) -> None:
        # as they come from a config or from JSON
        for name, kind in (("semantic", SemanticSettings), ("backbone", TransformerSettings)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                object.__setattr__(self, name, _made(kind, name, value))
        for name in ("ratios", "levels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def hop_length(self) -> int:
        """Samples at 16 kHz between encoder frames."""
        return math.prod(self.ratios)

    @property
    def token_hop_length(self) -> int:
        """Samples at 16 kHz between tokens."""
        return self.hop_length * self.pooling

    @property
    def output_hop_length(self) -> int:
        """Samples at the output rate between tokens."""
        return self.token_hop_length * self.output_rate // INPUT_RATE

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)

    @property
    def fbank_edge(self) -> int:
        """Zeros at both ends of the waveform before its filter bank."""
        return 160 if self.family == "xcodec2" else 0

    def padded(self, samples: int) -> int:
        """Length that a waveform is padded to with zeros: whole hops, at least one zero."""
        return (samples // self.hop_length + 1) * self.hop_length

    def window(self, tokens: int) -> int:
        """Samples at 16 kHz that give so many tokens when nothing is padded."""
        lost = self.hop_length if self.family == "neucodec" else 0
        return tokens * self.token_hop_length + lost

    def tokens(self, samples: int) -> int:
        """Tokens that the reference gives for a waveform of so many samples at 16 kHz."""
        frames = samples // self.hop_length + (1 if self.family == "xcodec2" else 0)
        return frames // self.pooling


def _made(kind: type, name: str, values: Mapping[str, Any]) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"config.system.{name}: {error}") from None
