"""Reading PyTorch checkpoints, and folders that both sides read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from codecbwe_jax import __version__, atomic, systems
from codecbwe_jax.codec import names, transformers
from codecbwe_jax.config import write_json
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop.files import check_finite, read_torch
from codecbwe_jax.interop.weights import from_torch, to_torch
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
      UserError: if the weights do not fit, every mismatch being listed, or are not finite.
    """
    system = systems.build(system_settings)
    state = _read_finite(weights)
    if isinstance(system, Codec):
        extra = _read_finite(semantic) if semantic else {}
        state = names.canonical(state, system, extra)
    elif semantic:
        raise UserError(f"--semantic is for codecs; this is {system_settings.get('name')}")
    shapes = jax.eval_shape(system.init, jax.random.key(0))
    params = from_torch(system.torch_rules, state, shapes, system.torch_constants)
    model = Model(output.name, system, params, {"source": weights.name})
    write_folder(model, system_settings, output)
    return model


def _read_finite(path: Path) -> dict[str, np.ndarray]:
    state = read_torch(path)
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
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
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
