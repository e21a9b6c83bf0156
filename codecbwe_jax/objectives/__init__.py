"""How systems learn. An objective gives parameter groups and a sequence of turns."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import fields_of, tagged

if TYPE_CHECKING:
    from codecbwe_jax.objectives.turn import Objective
    from codecbwe_jax.systems.base import System

REGISTRY = {
    "diffusion": "codecbwe_jax.objectives.diffusion:Diffusion",
    "flow_matching": "codecbwe_jax.objectives.flow_matching:FlowMatching",
    "gan": "codecbwe_jax.objectives.gan:Gan",
}


def build(system: System, settings: Any) -> Objective:
    """Make the objective that a config names (`config.objective.name`) for a system.

    Raises:
      UserError: on an unknown name.
    """
    if settings.name not in REGISTRY:
        raise UserError(f"config.objective.name is {settings.name!r}; known: {', '.join(REGISTRY)}")
    return _class_of(settings.name)(system, settings)


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of `config.objective` a checkpoint must agree with to be gone on from."""
    fields = ("name", *_class_of(settings["name"]).identity)
    return {name: settings[name] for name in fields}


def _class_of(name: str) -> Any:
    module, cls = REGISTRY[name].split(":")
    return getattr(importlib.import_module(module), cls)


# The kind of `config.objective`.
Settings = tagged("name", REGISTRY, lambda name: fields_of(_class_of(name).settings_kind))
