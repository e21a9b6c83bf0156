"""What all native decoders share: tokens in, a wide-band waveform out, the codec's own backbone.

A native decoder takes the place of the codec's decoder; encoder, quantiser and tokens stay as they
are. The systems differ in their heads alone, so that they can be compared on equal terms.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.decoders.backbones import BACKBONES, Backbone, backbone_settings
from codecbwe_jax.decoders.network import AcousticDecoder, TokenDecoder, decoder_rules
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import Levels, Precision, Rate, Size
from codecbwe_jax.nn.fsq import Quantiser
from codecbwe_jax.systems.base import Params, System
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.systems.tokens import TokenSystem
from codecbwe_jax.weights.rules import Rule, under

# Largest magnitude of the published 16 kHz heads.
CLIP_AT_16_KHZ = 100.0


@dataclasses.dataclass(frozen=True)
class NativeDecoder(TokenSystem):
    """A decoder of a codec's tokens at a higher rate.

    Attributes:
      output_rate: in Hz.
      levels: of the codec's quantiser.
      features: width of its latents.
      token_rate: tokens a second.
      backbone: sizes; "kind" names one of `decoders.backbones.BACKBONES` ("transformer", the
        codec's own, is the default).
      compute_dtype: of the backbone, "float32" or "bfloat16"; the head is float32.
    """

    takes: ClassVar[Literal["waveform", "tokens"]] = "tokens"
    input_rate: ClassVar[int] = INPUT_RATE
    # every system has its own ways; "scratch" takes nothing from the old head
    head_init: str

    output_rate: Rate = 48000
    levels: tuple[Levels, ...] = (4,) * 8
    features: Size = 2048
    token_rate: Size = 50
    backbone: Backbone = dataclasses.field(default_factory=dict)
    compute_dtype: Precision = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "backbone", backbone_settings(self.backbone))
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.output_rate % self.token_rate or self.output_rate < INPUT_RATE:
            raise UserError(
                f"config.system.output_rate {self.output_rate}: a multiple of {self.token_rate} "
                f"tokens a second, from {INPUT_RATE} Hz up, is needed"
            )

    @property
    @abc.abstractmethod
    def head(self) -> nn.Module:
        """Unbound module: (float32 `[B, T, size]`, lengths) -> `[B, T * output_hop_length]`."""

    @abc.abstractmethod
    def start_head(
        self, old: Mapping[str, Any], n_fft: int, rate: int, fresh: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """First values of the head from a trained one of one band.

        Args:
          old: "linear" of an `IstftHead` with n_fft at an output rate, same backbone.
          n_fft, rate: of the old head.
          fresh: random values, for what the old head says nothing of.
        """

    @property
    def network(self) -> TokenDecoder:
        size, dtype = self.backbone.size, jnp.dtype(self.compute_dtype)
        decoder = AcousticDecoder(self.backbone.module(dtype), self.head, size, dtype)
        return TokenDecoder(Quantiser(self.levels, self.features), decoder)

    @property
    def torch_rules(self) -> tuple[Rule, ...]:
        decoder = decoder_rules(BACKBONES[self.backbone.kind].network, type(self.head))
        return (
            *under("quantizer", "quantizer", Quantiser.torch_rules),
            *under("acoustic_decoder", "acoustic_decoder", decoder),
        )

    @property
    def output_hop_length(self) -> int:
        """Output samples of each token."""
        return self.output_rate // self.token_rate

    @property
    def token_hop_length(self) -> int:
        """Samples at 16 kHz of each token."""
        return INPUT_RATE // self.token_rate

    @property
    def receptive_field(self) -> int:
        """One second: attention sees everything; what is beyond matters little, not nothing."""
        return INPUT_RATE

    @property
    def alignment(self) -> int:
        return self.token_hop_length

    def input_shape(self, samples: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(
            (1, -(-samples * self.token_rate // self.output_rate)), jnp.int32
        )

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct]:
        return (jax.ShapeDtypeStruct((1, 8), jnp.int32),)

    def start_from(self, fresh: Params, other: System, theirs: Params) -> Params:
        """Fresh parameters with what a trained decoder of the same tokens can give.

        The way out of the quantiser always comes from there; the backbone if it is the same one,
        and then the head.

        Args:
          fresh: of this system.
          other: a codec or a native decoder; a head starts from one of one band only.
          theirs: its parameters.

        Raises:
          UserError: if the other reads other tokens or has no such head.
        """
        if not isinstance(other, TokenSystem):
            raise UserError(f"{type(other).__name__} is neither a codec nor a native decoder")
        self.check_tokens(other)
        old = theirs["acoustic_decoder"]
        decoder = dict(fresh["acoustic_decoder"])
        if other.backbone == self.backbone:
            head = decoder["head"]
            if self.head_init != "scratch":
                head = self._started_head(other, old["head"], head)
            decoder = {"fc": old["fc"], "backbone": old["backbone"], "head": head}
        return {
            "quantizer": {"project_out": theirs["quantizer"]["project_out"]},
            "acoustic_decoder": decoder,
        }

    def _started_head(
        self, other: TokenSystem, old: Mapping[str, Any], fresh: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        if set(old) != {"linear"} or not other.one_band:
            raise UserError("a head can start from a linear head of one band only")
        n_fft = old["linear"]["bias"].shape[0] - 2
        return self.start_head(old["linear"], n_fft, other.output_rate, fresh)

    def decode(
        self, params: Params, tokens: jax.Array, lengths: jax.Array | None = None
    ) -> jax.Array:
        return self.network.bind({"params": params})(tokens, lengths)

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Tokens int32 `[B, T]` -> waveform `[B, T * output_hop_length]`."""
        return self.decode(params, inputs)
