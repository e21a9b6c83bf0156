"""One golden case: numbers that a PyTorch original produced, and how ours are compared to them.

A folder holds `config.json`, `io.safetensors` and, where the original has weights,
`weights.safetensors` and `full_keys.json`. The folder's name is the case's kind, and a kind has
one adapter, which knows nothing of the case but its `small_config`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

# |ours - golden| <= max(10 * figure, RELATIVE * max|golden|, ABSOLUTE), where the figure is the
# difference between the original's own float32 and float64 runs.
RELATIVE = 3e-5
ABSOLUTE = 1e-6


@dataclasses.dataclass
class Check:
    """Our value of a tensor, in the original's layout.

    Attributes:
      ours: the value.
      samples: compare only this range of the last axis.
      wrapped: compare modulo 2 pi.
      relative: tolerance as a share of the golden peak; above `RELATIVE` only with a reason.
      figure: name in the case's tolerance table, if it is not the tensor's own.
      reason: why the tolerance is not the usual one.
    """

    ours: Any
    samples: tuple[int, int] | None = None
    wrapped: bool = False
    relative: float = RELATIVE
    figure: str | None = None
    reason: str = ""


class Case:
    """A case folder. Adapters read its inputs by `given`; everything else must be compared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kind = folder.name
        self.config = json.loads((folder / "config.json").read_text())
        self.small = self.config["small_config"]
        self.io = load_file(folder / "io.safetensors")
        weights = folder / "weights.safetensors"
        self.weights = load_file(weights) if weights.exists() else {}
        self.inputs: set[str] = set()
        self.left_out: dict[str, str] = {}

    def given(self, name: str) -> np.ndarray:
        """A tensor that the original was given too."""
        self.inputs.add(name)
        return self.io[name]

    def leave_out(self, name: str, reason: str) -> None:
        """Do not compare a tensor, for a reason that the test prints."""
        self.left_out[name] = reason

    def full_keys(self) -> dict[str, list[int]]:
        """Names and shapes of the official full-size state dict."""
        path = self.folder / "full_keys.json"
        keys = dict(json.loads(path.read_text())) if path.exists() else {}
        return keys.get("weight_norm_form", keys)

    def figure(self, name: str) -> float:
        """The case's own conditioning figure of a tensor, 0 if none is given."""
        table = self.config.get("tolerance", {})
        if isinstance(table, str):  # words for people
            return 0.0
        for nested in ("per_tensor_max_abs", "max_abs_float32_vs_float64"):
            table = {**table, **table.get(nested, {})}
        for key in (name, name.removeprefix("net_"), name.removeprefix("out_")):
            if key in table:
                return _first_number(table[key])
        return 0.0

    def sample_range(self, begins: str) -> tuple[int, int]:
        """The range "[a,b)" in the tolerance entry that begins with these words."""
        for key in self.config["tolerance"]:
            match = re.match(re.escape(begins) + r".*\[(\d+),(\d+)\)", key)
            if match:
                return int(match[1]), int(match[2])
        raise KeyError(begins)

    def ranged_figure(self, begins: str) -> float:
        """The figure of that entry."""
        entries = self.config["tolerance"].items()
        return next(_first_number(v) for k, v in entries if k.startswith(begins) and "[" in k)


def _first_number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    match = re.search(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", str(value))
    return float(match[0]) if match else 0.0


def compare(case: Case, name: str, check: Check) -> str | None:
    """What is wrong with a value, or None. "tensor@variant" compares a tensor once more."""
    tensor = name.split("@")[0]
    golden, ours = np.asarray(case.io[tensor]), np.asarray(check.ours)
    if golden.shape != ours.shape:
        return f"{name}: shape {ours.shape}, golden {golden.shape}"
    if check.samples:
        golden, ours = golden[..., slice(*check.samples)], ours[..., slice(*check.samples)]
    if np.issubdtype(golden.dtype, np.integer) or golden.dtype == bool:
        return None if np.array_equal(golden, ours) else f"{name}: not equal"
    golden, ours = golden.astype(np.float64), ours.astype(np.float64)
    difference = np.abs(ours - golden)
    if check.wrapped:
        difference = np.abs((ours - golden + np.pi) % (2 * np.pi) - np.pi)
    if not np.all(np.isfinite(ours)):
        return f"{name}: not finite"
    figure = case.figure(check.figure or tensor)
    if check.samples and check.figure:
        figure = case.ranged_figure(check.figure)
    peak = np.max(np.abs(golden), initial=0.0)
    allowed = max(10 * figure, check.relative * peak, ABSOLUTE)
    worst = np.max(difference, initial=0.0)
    if worst > allowed:
        return f"{name}: differs by {worst:.3g}, allowed {allowed:.3g} (peak {peak:.3g})"
    return None
