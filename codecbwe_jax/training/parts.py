"""Frozen parts of a run's system: trained models that a step is given beside its state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax import checksums
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model, content_hash
from codecbwe_jax.inference.model_folders import PARTS, load_model, write_folder
from codecbwe_jax.systems import settings_of
from codecbwe_jax.systems.base import Params, System


def load(config: ConfigDict, system: System) -> dict[str, Model]:
    """The models that `config.parts` names.

    Raises:
      UserError: if one is none, or not what the system is made of.
    """
    found = {name: load_model(config.parts[name]) for name in sorted(system.parts)}
    for name, model in found.items():
        if model.system != system.parts[name]:
            raise UserError(
                f"config.parts.{name}: {model.name} is not the {name} that config.system says: "
                "leave its settings out of the config"
            )
    return found


def params(parts: Mapping[str, Model]) -> dict[str, Params]:
    """Parameters by name, as they stand in a whole model's."""
    return {name: model.params for name, model in parts.items()}


def named_in(data_hash: str, parts: Mapping[str, Model]) -> str:
    """A hash of the data, and of the parts if there are any: a run goes on with the same alone."""
    if not parts:
        return data_hash
    hashes = {name: content_hash(model.system, model.params) for name, model in parts.items()}
    return checksums.of_json({"data": data_hash, "parts": hashes})[: len(data_hash)]


def store(parts: Mapping[str, Model], workdir: Path) -> None:
    """Put parts into a work folder, so that whoever gets it needs nothing else."""
    for name, model in parts.items():
        folder = workdir / PARTS / name
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            write_folder(model, settings_of(model.system), folder)
