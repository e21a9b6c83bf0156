"""Reading PyTorch checkpoints, and folders that both sides read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from codecbwe_jax import __version__, atomic, systems
from codecbwe_jax.codec import names, transformers
from codecbwe_jax.config import write_json
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop.files import as_arrays, check_finite, read_torch, write_safetensors
from codecbwe_jax.interop.weights import from_torch, knows, to_torch
from codecbwe_jax.interop.wrappings import unwrapped
from codecbwe_jax.systems.codec import Codec


def convert(
    system_settings: dict[str, Any], weights: Path, output: Path, semantic: Path | None = None
) -> Model:
    """PyTorch weights -> a model folder, checked strictly against the config.

    Args:
      system_settings: `config.system`.
      weights: a checkpoint that `read_torch` reads.
      output: folder to make.
      semantic: weights of facebook/w2v-bert-2.0, for a codec's checkpoint that lacks them.

    Returns:
      The model.

    Raises:
      UserError: if the weights do not fit, or are not finite.
    """
    system = systems.build(system_settings)
    shapes = jax.eval_shape(system.init, jax.random.key(0))
    if isinstance(system, Codec):
        state = _read(weights, names.is_known)
        extra = _read(semantic, names.is_of_w2v_bert) if semantic else {}
        state = names.canonical(state, system, extra)
    elif semantic:
        raise UserError(f"--semantic is for codecs; this is {system_settings.get('name')}")
    else:
        state = _read(weights, knows(system.torch_rules, shapes, system.torch_constants))
    params = from_torch(system.torch_rules, state, shapes, system.torch_constants, weights)
    model = Model(output.name, system, params, {"source": weights.name})
    write_folder(model, system_settings, output)
    return model


def _read(path: Path, known: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Finite tensors of a checkpoint, out of what they are wrapped in."""
    state = as_arrays(unwrapped(read_torch(path), known, path), path)
    check_finite(state, path)
    return state


def write_folder(
    model: Model,
    system_settings: dict[str, Any],
    output: Path,
    extra: Path | None = None,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write `config.json`, `model.safetensors` (the original's names) and perhaps one more file,
    under a temporary name until the folder is complete. A codec's folder is one that transformers
    loads, if one of its classes is such a codec.

    Args:
      model: to write.
      system_settings: "name" and fields of its system.
      output: folder to make.
      extra: a file to put beside them.
      about: more entries of `config.json`.

    Raises:
      UserError: if a weight is NaN or infinite, or the folder cannot be written.
    """
    tensors = to_torch(model.system.torch_rules, model.params) | model.system.torch_constants
    check_finite(tensors, model.name)
    with atomic.whole(output) as partial:
        partial.mkdir()
        written_for = {"system": json.dumps(dict(system_settings))}
        write_safetensors(partial / "model.safetensors", tensors, written_for)
        facts = {**model.facts, "written_by": f"codecbwe_jax {__version__}"}
        facts["tensors"] = len(tensors)
        facts["parameters"] = int(sum(t.size for t in tensors.values()))
        config = {"system": dict(system_settings), **about, "facts": facts}
        write_json(partial / "config.json", _transformers_config(model.system) | config)
        # safetensors writes files that nobody else may read
        shutil.copymode(partial / "config.json", partial / "model.safetensors")
        if extra:
            shutil.copyfile(extra, partial / extra.name)


def _transformers_config(system: systems.System) -> dict[str, Any]:
    is_theirs = isinstance(system, Codec) and transformers.covers(system)
    return transformers.config_of(system) if is_theirs else {}
