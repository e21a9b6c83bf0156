"""Weight norms, which are folded into plain weights when a model is loaded."""

from __future__ import annotations

import torch


def without_weight_norm(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors with one "weight" in place of each "weight_v" and "weight_g"."""
    plain = dict(tensors)
    for key in [key for key in tensors if key.endswith("weight_v")]:
        v, g = plain.pop(key), plain.pop(key.removesuffix("v") + "g")
        norm = v.flatten(1).norm(dim=1).reshape(g.shape)
        plain[key.removesuffix("_v")] = v * (g / norm)
    return plain
