"""PyTorch checkpoints to model folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from codecbwe_jax import systems
from codecbwe_jax.codec import names
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import write_folder
from codecbwe_jax.systems.codec import Codec
from codecbwe_jax.weights.files import as_arrays, check_finite, read_torch
from codecbwe_jax.weights.rules import from_torch, knows
from codecbwe_jax.weights.wrappings import unwrapped


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
    shapes = system.shapes()
    if isinstance(system, Codec):
        state = _read(weights, names.is_known)
        extra = _read(semantic, names.is_of_w2v_bert) if semantic else {}
        state = names.canonical(state, system, extra)
    elif semantic:
        raise UserError(f"--semantic is for codecs; this is {system_settings.get('name')}")
    else:
        state = _read(weights, knows(system.weight_map, shapes, system.constants))
    params = from_torch(system.weight_map, state, shapes, system.constants, weights)
    model = Model(output.name, system, params, {"source": weights.name})
    write_folder(model, system_settings, output)
    return model


def _read(path: Path, known: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Finite tensors of a checkpoint, out of what they are wrapped in."""
    state = as_arrays(unwrapped(read_torch(path), known, path), path)
    check_finite(state, path)
    return state
