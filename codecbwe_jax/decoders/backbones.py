"""Backbones that a config may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import linen as nn

from codecbwe_jax.decoders.convnext import (
    ConvNeXtBackbone,
    ConvNeXtSettings,
    WavTokenizerBackbone,
    WavTokenizerSettings,
)
from codecbwe_jax.decoders.resnet import ResNetBackbone, ResNetSettings
from codecbwe_jax.decoders.transformer import TransformerBackbone, TransformerSettings
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import fields_of, tagged


class Kind(NamedTuple):
    """Settings (with `size`, `kind` and `module(dtype)`) and network of a backbone."""

    settings: type
    network: type[nn.Module]


BACKBONES = {
    "transformer": Kind(TransformerSettings, TransformerBackbone),
    "convnext": Kind(ConvNeXtSettings, ConvNeXtBackbone),
    "wavtokenizer": Kind(WavTokenizerSettings, WavTokenizerBackbone),
    "resnet": Kind(ResNetSettings, ResNetBackbone),
}
DEFAULT = "transformer"
Backbone = tagged("kind", BACKBONES, lambda kind: fields_of(BACKBONES[kind].settings), DEFAULT)


def backbone_settings(values: Mapping[str, Any] | Any) -> Any:
    """Settings from a config's entry, "kind" (default "transformer") and sizes; settings stay.

    Raises:
      UserError: on an unknown kind or field.
    """
    if isinstance(values, tuple(kind.settings for kind in BACKBONES.values())):
        return values
    values = dict(values)
    kind = values.pop("kind", DEFAULT)
    if kind not in BACKBONES:
        raise UserError(f"config.system.backbone.kind {kind!r}; known: {', '.join(BACKBONES)}")
    try:
        return BACKBONES[kind].settings(**values)
    except TypeError as error:
        raise UserError(f"config.system.backbone: {error}") from None
