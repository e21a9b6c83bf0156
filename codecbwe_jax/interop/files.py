"""Reading files of weights."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from codecbwe_jax.config import read_json
from codecbwe_jax.errors import UserError

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


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file.

    Raises:
      UserError: if it is missing, cut off or no such file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own type, and OSError
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None


def read_shards(folder: Path) -> dict[str, np.ndarray]:
    """Tensors of `model.safetensors` in a folder, or of the files that its index names.

    Raises:
      UserError: if the file or one of the shards is missing or broken.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        if not (folder / "model.safetensors").is_file():
            raise UserError(f"{folder}: neither checkpoints/ nor model.safetensors in it")
        return read_safetensors(folder / "model.safetensors")
    shards = sorted(set(read_json(index).get("weight_map", {}).values()))
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing or not shards:
        listed = ", ".join(missing) or "every shard"
        raise UserError(f"{folder}: {index.name} names files that are not there: {listed}")
    return {k: v for name in shards for k, v in read_safetensors(folder / name).items()}


def check_finite(tensors: Mapping[str, np.ndarray], where: object) -> None:
    """Raise UserError that names the tensors of a model or file that hold NaN or infinity."""
    wrong = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{where}: NaN or infinity in {', '.join(wrong[:3])}{more}; not written")
