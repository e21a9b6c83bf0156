"""What a codec and the decoders that may take its decoder's place have in common: tokens."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import jax

from codecbwe_jax.errors import UserError
from codecbwe_jax.systems.base import OneNetwork, Params, Regression


class TokenSystem(OneNetwork, Regression):
    """A system that makes a waveform of tokens, whether they are its input or its own.

    Attributes:
      one_band: whether its head is one that others can start from.
      backbone: settings, of one of `decoders.backbones.BACKBONES`.
    """

    backbone: Any
    one_band: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def levels(self) -> tuple[int, ...]:
        """Of the quantiser's dimensions."""

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """Width of the latents."""

    @property
    @abc.abstractmethod
    def token_rate(self) -> int:
        """Tokens a second."""

    @property
    @abc.abstractmethod
    def token_hop_length(self) -> int:
        """Samples at 16 kHz of each token."""

    @property
    @abc.abstractmethod
    def output_hop_length(self) -> int:
        """Output samples of each token."""

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)

    @abc.abstractmethod
    def decode(
        self, params: Params, tokens: jax.Array, lengths: jax.Array | None = None
    ) -> jax.Array:
        """Tokens int32 `[B, T]` -> waveform `[B, T * output_hop_length]`; `lengths` int32 `[B]` are
        tokens of each item, and each gives what it gives alone."""

    def check_tokens(self, other: TokenSystem) -> None:
        """Raise UserError if a codec makes, or another decoder reads, tokens of another kind."""
        for name in ("levels", "features", "token_rate"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise UserError(f"config.system.{name} is {ours}; the codec's is {theirs}")
