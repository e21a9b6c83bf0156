"""Export of a codec under the names of X-Codec 2.0's training checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codecbwe_jax import atomic
from codecbwe_jax.codec import names
from codecbwe_jax.config import write_json
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop.as_codec import as_codec
from codecbwe_jax.interop.verify import Differences
from codecbwe_jax.systems import settings_of
from codecbwe_jax.systems.codec import Codec
from codecbwe_jax.systems.native_istft import NativeIstft
from codecbwe_jax.weights.files import read_safetensors, write_safetensors
from codecbwe_jax.weights.rules import to_torch


def export_original(
    model: Model, output: Path, codec: Model | None = None, allow_clip_difference: bool = False
) -> Differences:
    """Write a checkpoint that zhenye234/X-Codec-2.0's modules load, and read it back.

    `codecbwe convert` reads it too. The sizes stand in `config.json`; that code takes its head's
    hop_length from its own config.

    Args:
      model, codec, allow_clip_difference: as in `export_transformers`.
      output: folder to make: `model.safetensors`, `config.json`.

    Returns:
      The measured differences: "weights" (largest difference after reading back), and "clip" as in
      `export_transformers`.

    Raises:
      UserError: if the model is neither a codec nor a native_istft, or see `as_codec`.
    """
    differences: dict[str, float] = {}
    if isinstance(model.system, NativeIstft):
        model, differences["clip"] = as_codec(model, codec, allow_clip_difference)
    if not isinstance(model.system, Codec):
        raise UserError(f"{model.name} is neither a codec nor a native_istft")
    head_size = model.system.backbone.head_size
    tensors = to_torch(model.system.torch_rules, model.params)
    with atomic.whole(output) as staged:
        staged.mkdir(parents=True)
        path = staged / "model.safetensors"
        write_safetensors(path, names.to_original(tensors, head_size))
        write_json(staged / "config.json", {"convert": settings_of(model.system)})
        path.chmod((staged / "config.json").stat().st_mode)
        again = names.from_original(read_safetensors(path)[0], head_size)
        differences["weights"] = max(
            float(np.abs(again[name] - value).max()) for name, value in tensors.items()
        )
    return Differences(differences)
