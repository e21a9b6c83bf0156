"""Reading PyTorch checkpoints, and folders that both sides read."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from codecbwe_jax import __version__, systems
from codecbwe_jax.config import write_json
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model, read_safetensors
from codecbwe_jax.interop.weights import from_torch, to_torch

# A checkpoint may hold its state dict under one of these.
NESTED = ("generator", "state_dict", "model")


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """State dict of a checkpoint as NumPy arrays.

    Args:
      path: `.safetensors`, or a file of torch.save holding tensors only: other pickled objects
        are refused, because loading them could run code.

    Raises:
      UserError: if the file is missing or broken, or torch is needed and not installed.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path}: reading this format needs torch (pip install torch); .safetensors does not"
        ) from None
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: not a checkpoint that can be read safely ({first})") from None
    for name in NESTED:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
            break
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a state dict")
    return {k: v.detach().float().numpy() for k, v in state.items() if hasattr(v, "detach")}


def convert(system_settings: dict[str, Any], weights: Path, output: Path) -> Model:
    """PyTorch weights -> a model folder, checked strictly against the config.

    Args:
      system_settings: `config.system`.
      weights: a checkpoint that `read_torch` reads.
      output: folder to make.

    Returns:
      The model.

    Raises:
      UserError: if the weights do not fit; every mismatch is listed.
    """
    system = systems.build(system_settings)
    shapes = jax.eval_shape(system.init, jax.random.key(0))
    params = from_torch(system.torch_rules, read_torch(weights), shapes)
    model = Model(output.name, system, params, {"source": weights.name})
    write_folder(model, system_settings, output)
    return model


def write_folder(
    model: Model, system_settings: dict[str, Any], output: Path, extra: Path | None = None
) -> None:
    """Write `config.json`, `model.safetensors` (the original's names) and perhaps one more file,
    under a temporary name until the folder is complete.

    Raises:
      UserError: if the folder cannot be written.
    """
    partial = output.with_name(f".{output.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        tensors = to_torch(model.system.torch_rules, model.params)
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
        facts = {**model.facts, "written_by": f"codecbwe_jax {__version__}"}
        facts["tensors"] = len(tensors)
        facts["parameters"] = int(sum(t.size for t in tensors.values()))
        write_json(partial / "config.json", {"system": dict(system_settings), "facts": facts})
        if extra:
            shutil.copyfile(extra, partial / extra.name)
        if output.exists():
            shutil.rmtree(output)
        os.replace(partial, output)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
