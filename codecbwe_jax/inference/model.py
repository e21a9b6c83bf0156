"""A model: a system with its parameters, from any folder that holds one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax

from codecbwe_jax import systems
from codecbwe_jax.codec import transformers
from codecbwe_jax.config import read_json
from codecbwe_jax.errors import UserError
from codecbwe_jax.interop.files import read_shards
from codecbwe_jax.interop.weights import from_torch
from codecbwe_jax.systems.base import Params, System

BASELINES = ("sinc", "band_replication")


@dataclasses.dataclass(frozen=True)
class Model:
    """A system ready to run.

    Attributes:
      name: for tables.
      system: settings and functions.
      params: nested dict of NumPy arrays.
      facts: where it comes from: "source", "step".
    """

    name: str
    system: System
    params: Params
    facts: dict[str, Any]


def load_model(where: str | Path) -> Model:
    """Load a model.

    Args:
      where: a work folder (its newest checkpoint; the moving average if it has one), a converted
        or exported folder, a transformers folder of a codec, or the name of a baseline ("sinc",
        "band_replication").

    Raises:
      UserError: if there is no model, or its weights do not fit its config.
    """
    if str(where) in BASELINES:
        return Model(str(where), systems.build({"name": str(where)}), {}, {})
    folder = Path(where)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; --model takes a work folder, a converted or exported "
            f"folder, or one of {', '.join(BASELINES)}"
        )
    config = read_json(folder / "config.json")
    system = _system(config, folder)
    if (folder / "checkpoints").is_dir():
        return _from_workdir(folder, system)
    shapes = jax.eval_shape(system.init, jax.random.key(0))
    params = from_torch(system.torch_rules, read_shards(folder), shapes, system.torch_constants)
    return Model(folder.name, system, params, config.get("facts", {}))


def codec_of(where: str | Path) -> str:
    """Folder of the codec that a work folder's model was trained on.

    Raises:
      UserError: if its config names none.
    """
    codec = read_json(Path(where) / "config.json").get("data", {}).get("codec")
    if not codec:
        raise UserError(f"{where} names no codec that makes its tokens: give --codec=FOLDER")
    return codec


def _system(config: dict[str, Any], folder: Path) -> System:
    if "system" in config:
        return systems.build(_tuples(config["system"]))
    if config.get("model_type") in transformers.CLASSES:
        settings = dataclasses.asdict(transformers.settings_of(config))
        return systems.build({"name": "codec", **settings})
    raise UserError(
        f"{folder / 'config.json'}: neither a model of ours (field 'system') nor one of "
        f"transformers' {' and '.join(transformers.CLASSES.values())}"
    )


def _from_workdir(folder: Path, system: System) -> Model:
    # here, so that running an exported model does not need the trainer
    from codecbwe_jax.training.checkpoints import load_groups

    state, _ = load_groups(folder / "checkpoints")
    params = state.get("ema", {}).get("generator") or state["params"]["generator"]
    step = int(state["step"])
    return Model(folder.name, system, params, {"source": folder.name, "step": step})


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples; systems are hashable and hold no lists."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
