"""Networks that are read from an exported folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from codecbwe_jax.interop.torch.parts.safetensors import read_safetensors


class Exported(nn.Module):
    """A network whose settings lie in `config.json` and whose weights in `model.safetensors`.

    It is made of the "system" part of that config.
    """

    @classmethod
    def load(cls, folder: str | Path) -> Exported:
        """The model of an exported folder, in evaluation mode and without gradients."""
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model = cls(config["system"])
        # how a waveform is cut, where it is, and how what draws samples
        vars(model).update(config.get("running", {}), sampling=config.get("sampling", {}))
        model.take(read_safetensors(folder / "model.safetensors"))
        return model.requires_grad_(False).eval()

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        """A folder's tensors as weights."""
        self.load_state_dict(tensors)
