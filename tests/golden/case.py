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

from tests.golden.settings import Settings

# |ours - golden| <= max(10 * figure, RELATIVE * max|golden|, ABSOLUTE), where the figure is the
# difference between the original's own float32 and float64 runs; but never more than
# LARGEST * max|golden|.
RELATIVE = 3e-5
ABSOLUTE = 1e-6
LARGEST = 1e-2


@dataclasses.dataclass
class Check:
    """Our value of a tensor, in the original's layout.

    Attributes:
      ours: the value.
      against: what it must equal instead of the golden tensor: our own stages, one by one.
      samples: compare only this range of the last axis.
      where: compare only there; bool, broadcast to the tensor.
      wrapped: compare modulo 2 pi.
      relative: tolerance as a share of the golden peak; above `RELATIVE` only with a reason.
      figure: name in the case's tolerance table, or a number, if it is not the tensor's own.
      reason: why the tolerance is not the usual one, or what is not compared.
    """

    ours: Any
    against: Any = None
    samples: tuple[int, int] | None = None
    where: Any = None
    wrapped: bool = False
    relative: float = RELATIVE
    figure: str | float | None = None
    reason: str = ""


class Case:
    """A case folder. Adapters read its inputs by `given`; everything else must be compared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kind = folder.name
        self.config = json.loads((folder / "config.json").read_text())
        self.small = Settings(self.config["small_config"])
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

    def full_keys(self) -> dict[str, list[int]] | None:
        """Names and shapes of the official full-size state dict, if the case has them; of several
        as "which/name"."""
        path = self.folder / "full_keys.json"
        if not path.exists():
            return None
        found: dict[str, list[int]] = {}
        for key, value in json.loads(path.read_text()).items():
            inner = value.items() if isinstance(value, dict) else None
            found |= {f"{key}/{k}": v for k, v in inner} if inner else {key: value}
        return found

    def figure(self, name: str) -> float:
        """The case's own conditioning figure of a tensor, 0 if none is given."""
        table = self.config.get("tolerance", {})
        if isinstance(table, str):  # words for people
            return 0.0
        for nested in ("per_tensor_max_abs", "max_abs_float32_vs_float64"):
            table = {**table, **table.get(nested, {})}
        for key in (name, name.removeprefix("net_"), name.removeprefix("out_")):
            if key in table:
                return figure_of(table[key])
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
        return next(figure_of(v) for k, v in entries if k.startswith(begins) and "[" in k)


NUMBER = r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"


def figure_of(entry: Any) -> float:
    """The figure in an entry of a tolerance table.

    It is a number; or words that begin with it, or name it ("max abs 5.11e-07, max |y| 0.667"); or
    the values of both runs ("f32 1.037, f64 1.038"), whose difference it is. Other words have none.
    """
    if isinstance(entry, (int, float)):
        return float(entry)
    text = str(entry)
    if runs := re.match(rf"f32 {NUMBER}, f64 {NUMBER}", text):
        return abs(float(runs[1]) - float(runs[2]))
    found = re.match(rf"(?:max(?:[ _]abs)?(?: diff)?:? )?{NUMBER}", text)
    return float(found[1]) if found else 0.0


def selected(case: Case, name: str, check: Check) -> tuple[np.ndarray, np.ndarray]:
    """(golden, ours) where they are compared; float64, but for exact kinds. "tensor@variant" names
    a tensor once more."""
    golden = case.io[name.split("@")[0]] if check.against is None else check.against
    golden, ours = np.asarray(golden), np.asarray(check.ours)
    if golden.shape != ours.shape:
        raise ValueError(f"shape {ours.shape}, golden {golden.shape}")
    if check.samples:
        golden, ours = golden[..., slice(*check.samples)], ours[..., slice(*check.samples)]
    if check.where is not None:
        mask = np.broadcast_to(check.where, golden.shape)
        golden, ours = golden[mask], ours[mask]
    if golden.dtype.kind == "f":
        golden, ours = golden.astype(np.float64), ours.astype(np.float64)
    return golden, ours


def allowance(case: Case, name: str, check: Check, peak: float) -> float:
    """Largest difference that a correct port may have where |golden| is at most `peak`."""
    figure = check.figure
    if figure is None:
        figure = case.figure(name.split("@")[0])
    elif isinstance(figure, str):
        figure = case.ranged_figure(figure) if check.samples else case.figure(figure)
    if peak <= ABSOLUTE:  # nothing but rounding there
        return ABSOLUTE
    return min(max(10 * figure, check.relative * peak, ABSOLUTE), LARGEST * peak)


def difference(golden: np.ndarray, ours: np.ndarray, check: Check) -> float:
    """The largest one."""
    apart = ours - golden
    if check.wrapped:
        apart = (apart + np.pi) % (2 * np.pi) - np.pi
    return float(np.max(np.abs(apart), initial=0.0))


def compare(case: Case, name: str, check: Check) -> str | None:
    """What is wrong with a value, or None."""
    try:
        golden, ours = selected(case, name, check)
    except ValueError as error:
        return f"{name}: {error}"
    if golden.dtype.kind != "f":
        return None if np.array_equal(golden, ours) else f"{name}: not equal"
    if not np.all(np.isfinite(ours)):
        return f"{name}: not finite"
    peak = float(np.max(np.abs(golden), initial=0.0))
    allowed, worst = allowance(case, name, check, peak), difference(golden, ours, check)
    if worst > allowed:
        return f"{name}: differs by {worst:.3g}, allowed {allowed:.3g} (peak {peak:.3g})"
    return None


def toothless(case: Case, name: str, check: Check) -> str | None:
    """Why a comparison could not fail, or None: zeros in place of our value must."""
    golden, _ = selected(case, name, check)
    if not golden.size:
        return f"{name}: nothing of it is compared"
    if np.max(np.abs(golden.astype(np.float64))) <= ABSOLUTE:
        return None
    zeros = dataclasses.replace(check, ours=np.zeros_like(np.asarray(check.ours)))
    return None if compare(case, name, zeros) else f"{name}: zeros pass"
