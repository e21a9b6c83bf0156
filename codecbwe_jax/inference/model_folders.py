"""Folders that hold a model: read, of every kind, and written."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from codecbwe_jax import __version__, atomic, systems
from codecbwe_jax.codec import transformers
from codecbwe_jax.config import read_json, write_json
from codecbwe_jax.errors import UserError, warn
from codecbwe_jax.inference.model import Model
from codecbwe_jax.systems.base import Params, System
from codecbwe_jax.systems.codec import Codec
from codecbwe_jax.systems.sampling import SamplingSettings
from codecbwe_jax.systems.stored import build_stored, check_same
from codecbwe_jax.weights.files import check_finite, read_folder, write_safetensors
from codecbwe_jax.weights.rules import from_torch, to_torch

BASELINES = ("sinc", "band_replication")
# sub-folder of a work folder with its system's frozen parts, each a model folder
PARTS = "parts"


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
    if folder.is_file():
        raise UserError(
            f"{folder} is a file; a folder is expected. codecbwe convert --config=CONFIG "
            f"--weights={folder} --output=FOLDER makes one of an original's weights"
        )
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; --model takes a work folder, a converted or exported "
            f"folder, or one of {', '.join(BASELINES)}"
        )
    path = folder / "config.json"
    config = read_json(path)
    settings = _settings(config, path)
    system, shapes = build_stored(settings, path)
    sampling = systems.build_sampling(system, config.get("sampling", {}), f"{path}: sampling")
    if (folder / "checkpoints").is_dir():
        return _from_workdir(folder, system, settings, sampling)
    weights, about = read_folder(folder)
    if "system" in config:  # ours, not one of transformers' that nobody here wrote
        if "checksums" not in about:
            warn(f"{folder}: its weights have no checksums, so that damage would not be seen")
        if "system" in about:
            check_same(settings, json.loads(about["system"]), path)
    params = from_torch(system.weight_map, weights, shapes, system.constants, folder)
    return Model(folder.name, system, params, config.get("facts", {}), sampling)


def codec_of(where: str | Path) -> str:
    """Folder of the codec that a work folder's model was trained on.

    Raises:
      UserError: if its config names none.
    """
    data = read_json(Path(where) / "config.json").get("data")
    codec = data.get("codec") if isinstance(data, dict) else None
    if not codec:
        raise UserError(f"{where} names no codec that makes its tokens: give --codec=FOLDER")
    return codec


def settings_in(folder: Path) -> Any:
    """What the config.json of a model folder says of its system, as it stands there.

    Raises:
      UserError: if there is none, or it is no model's.
    """
    path = folder / "config.json"
    return _settings(read_json(path), path)


def _settings(config: dict[str, Any], path: Path) -> Any:
    """What a config.json says of its system."""
    if "system" in config:
        return config["system"]
    if config.get("model_type") not in transformers.CLASSES:
        raise UserError(
            f"{path}: neither a model of ours (field 'system') nor one of "
            f"transformers' {' and '.join(transformers.CLASSES.values())}"
        )
    try:
        return {"name": "codec", **dataclasses.asdict(transformers.settings_of(config))}
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix('config.json: ')}") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{path}: a field has another type than transformers' ({error})") from None


def _from_workdir(
    folder: Path, system: System, settings: dict[str, Any], sampling: SamplingSettings | None
) -> Model:
    # imported here: orbax takes a second, and an exported model needs none of it
    from codecbwe_jax.weights.checkpoints import load_groups

    state, facts = load_groups(folder / "checkpoints", say=warn)
    check_same(settings, facts["config"]["system"], folder / "config.json")
    params = state.get("ema", {}).get("generator") or state["params"]["generator"]
    params = {**params, **{name: _part(folder, name, part) for name, part in system.parts.items()}}
    step = int(state["step"])
    facts = {"source": folder.name, "step": step}
    return Model(folder.name, system, params, facts, sampling)


def _part(folder: Path, name: str, system: System) -> Params:
    """Parameters of a part that a work folder holds."""
    model = load_model(folder / PARTS / name)
    if model.system != system:
        raise UserError(f"{folder / PARTS / name}: not the {name} that {folder} was trained with")
    return model.params


def write_folder(
    model: Model,
    system_settings: dict[str, Any],
    output: Path,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write `config.json` and `model.safetensors` (the original's names), under a temporary name
    until the folder is complete. A codec's folder is one that transformers loads, if one of its
    classes is such a codec.

    Args:
      model: to write.
      system_settings: "name" and fields of its system.
      output: folder to make.
      about: more entries of `config.json`.

    Raises:
      UserError: if a weight is NaN or infinite, or the folder cannot be written.
    """
    tensors = to_torch(model.system.weight_map, model.params) | model.system.constants
    check_finite(tensors, model.name)
    with atomic.whole(output) as partial:
        partial.mkdir()
        written_for = {"system": json.dumps(dict(system_settings))}
        write_safetensors(partial / "model.safetensors", tensors, written_for)
        facts = {**model.facts, "written_by": f"codecbwe_jax {__version__}"}
        facts["tensors"] = len(tensors)
        facts["parameters"] = int(sum(t.size for t in tensors.values()))
        config = {"system": dict(system_settings), **about, "facts": facts}
        if model.sampling:
            config["sampling"] = dataclasses.asdict(model.sampling)
        write_json(partial / "config.json", _transformers_config(model.system) | config)
        # safetensors writes files that nobody else may read
        shutil.copymode(partial / "config.json", partial / "model.safetensors")


def _transformers_config(system: System) -> dict[str, Any]:
    if isinstance(system, Codec) and transformers.covers(system):
        return transformers.config_of(system)
    return {}
