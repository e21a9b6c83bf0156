"""The codec itself as a system: 16 kHz in, its own reconstruction out.

X-Codec 2.0 (zhenye234/X-Codec-2.0, 629 M parameters), NeuCodec (neuphonic/neucodec) and codecs of
the same architecture in other sizes. As a system it can be trained, converted, exported and
evaluated like any other.

Source: arXiv 2502.04128, arXiv 2509.09550
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from codecbwe_jax.codec.network import CodecNetwork
from codecbwe_jax.codec.settings import INPUT_RATE, CodecSettings
from codecbwe_jax.systems.base import Features, Params
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.systems.tokens import TokenSystem
from codecbwe_jax.weights.rules import Rule


@dataclasses.dataclass(frozen=True)
class Codec(CodecSettings, TokenSystem):
    """A codec; attributes as in `CodecSettings`."""

    torch_rules: ClassVar[tuple[Rule, ...]] = CodecNetwork.torch_rules
    input_rate: ClassVar[int] = INPUT_RATE
    one_band: ClassVar[bool] = True

    @property
    def network(self) -> CodecNetwork:
        return CodecNetwork(self)

    @property
    def token_rate(self) -> int:
        return INPUT_RATE // self.token_hop_length

    @property
    def features(self) -> int:
        return self.backbone.size + self.semantic.size

    @property
    def receptive_field(self) -> int:
        """One second. Attention and GroupNorm see the whole chunk: what is beyond this matters
        little, not nothing."""
        return INPUT_RATE

    @property
    def alignment(self) -> int:
        return self.token_hop_length

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct]:
        return (jax.ShapeDtypeStruct((1, 8 * self.token_hop_length), jnp.float32),)

    def pad(self, waveform: jax.Array) -> jax.Array:
        """`[B, n]` -> whole hops, with at least one zero at the end."""
        samples = waveform.shape[1]
        return jnp.pad(waveform, ((0, 0), (0, self.padded(samples) - samples)))

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at 16 kHz -> reconstruction, one output hop for every token."""
        return self.network.bind({"params": params})(self.pad(inputs))

    def decode(
        self, params: Params, tokens: jax.Array, lengths: jax.Array | None = None
    ) -> jax.Array:
        return self.network.bind({"params": params}).decode(tokens, lengths)

    def predict(self, params: Params, batch: Mapping[str, jax.Array]) -> Features:
        """The "waveform" at the output rate, as long as the target or a hop shorter, and what was
        quantised, "projected" `[B, T, dims]`."""
        waveform, sown = self.network.apply(
            {"params": params}, self.pad(batch["input"]), mutable="features"
        )
        (projected,) = sown["features"]["quantizer"]["projected"]
        return {"waveform": waveform[:, : batch["target"].shape[1]], "projected": projected}

    def target(self, batch: Mapping[str, jax.Array]) -> Features:
        """The true waveform, as long as the prediction."""
        tokens = self.tokens(batch["input"].shape[1])
        return {"waveform": batch["target"][:, : tokens * self.output_hop_length]}
