"""Every golden case against our code: `CODECBWE_GOLDEN=DIR[:DIR...] pytest tests/golden`.

Each folder named in the path list holds case folders (links are followed). The default is the
project's own copies.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import jax
import pytest

from codecbwe_jax.interop.weights import torch_layout
from tests.golden.adapters import ADAPTERS, FULL_NETWORKS
from tests.golden.case import RELATIVE, Case, Check, compare

# filters of anti-aliased activations, a rate, and what Opus keeps beside parameters
CONSTANTS = re.compile(
    r".*(upsample|lowpass|downsample)\.filter|sample_rate"
    r"|upsampler\..*|af\d\.overlap_win|tdshape\d\.interpolate_weight"
)
DEFAULT = Path(__file__).with_name("cases")


def case_folders() -> list[Path]:
    roots = [Path(p) for p in os.environ.get("CODECBWE_GOLDEN", str(DEFAULT)).split(os.pathsep)]
    for root in roots:
        if not root.is_dir():
            raise pytest.UsageError(f"CODECBWE_GOLDEN: {root} is not a folder")
    return [f for root in roots for f in sorted(root.iterdir()) if (f / "config.json").is_file()]


FOLDERS = case_folders()


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_golden(folder: Path) -> None:
    if folder.name not in ADAPTERS:
        pytest.skip(f"no network of kind {folder.name} is registered yet")
    case = Case(folder)
    results = ADAPTERS[case.kind](case)
    problems = []
    for name, check in results.items():
        check = check if isinstance(check, Check) else Check(check)
        assert check.relative <= RELATIVE or check.reason, f"{name}: a looser tolerance, no reason"
        problems.append(compare(case, name, check))
    compared = {name.split("@")[0] for name in results}
    forgotten = set(case.io) - compared - case.inputs - set(case.left_out)
    problems += [f"{name}: not compared" for name in sorted(forgotten)]
    problems = [p for p in problems if p]
    assert not problems, "\n".join(problems)
    for name, reason in case.left_out.items():
        print(f"{case.kind}: {name} left out: {reason}")


@pytest.mark.parametrize(
    "folder", [f for f in FOLDERS if f.name in FULL_NETWORKS], ids=lambda f: f.name
)
def test_official_names(folder: Path) -> None:
    """The weight map gives the official checkpoint's names and shapes, all but constants'."""
    case = Case(folder)
    rules, shapes = FULL_NETWORKS[case.kind](case.config["full_config"])
    ours = {key: list(shape) for key, _, shape in torch_layout(rules, shapes).values()}
    official = {k: v for k, v in case.full_keys().items() if not CONSTANTS.fullmatch(k)}
    assert ours == official
