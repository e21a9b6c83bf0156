"""What compares golden cases: its figures, its allowances, its settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.golden.case import LARGEST, Case, Check, allowance, compare, figure_of, toothless
from tests.golden.settings import NotSupportedError, Settings

SETTINGS = {"width": 8, "seed": 1, "part": {"depth": 2}, "parts": [{"taps": 3}]}


@pytest.mark.parametrize(
    ("entry", "figure"),
    [
        (3.4e-6, 3.4e-6),
        ("2.27e-09 (value 0.169023)", 2.27e-9),
        ("max abs diff 1.01e-06 (max |x| 3.59)", 1.01e-6),
        ("max abs 6.02e-02, max |y| 0.601", 6.02e-2),
        ("max 2.00e-01, bins over 1e-3: 325 of 23530", 0.2),
        ("f32 1.25, f64 1.5", 0.25),
        ("f32 -1.25, f64 -1.5", 0.25),
        ("f32 -0.5, f64 0.5", 1.0),
        ("see features", 0.0),
        ("in 32 of 64 frames", 0.0),
    ],
)
def test_figure_is_the_number_behind_its_label(entry, figure):
    assert figure_of(entry) == figure


def case_of(folder: Path, golden: np.ndarray, figure: float) -> Case:
    config = {"small_config": {}, "tolerance": {"y": figure}}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"y": golden}, folder / "io.safetensors")
    return Case(folder)


@pytest.mark.parametrize("figure", [0.0, 1e-6, 1e-3, 0.4, 32.0])
@pytest.mark.parametrize("peak", [1e-5, 1.0, 500.0])
def test_no_figure_allows_more_than_a_hundredth_of_the_peak(tmp_path, figure, peak):
    golden = np.array([peak, -peak / 2], np.float32)
    case = case_of(tmp_path, golden, figure)
    assert allowance(case, "y", Check(golden), peak) <= LARGEST * peak
    assert allowance(case, "y", Check(golden, relative=1.0), peak) <= LARGEST * peak
    assert compare(case, "y", Check(golden)) is None
    assert compare(case, "y", Check(golden + np.float32(1.1 * LARGEST * peak)))
    assert toothless(case, "y", Check(golden)) is None


def test_comparison_that_cannot_fail_is_told(tmp_path):
    case = case_of(tmp_path, np.array([1.0, 0.0, 2e-9], np.float32), 0.0)
    none, quiet = np.zeros(3, bool), np.array([False, True, True])
    assert "nothing of it" in toothless(case, "y", Check(case.io["y"], where=none))
    assert toothless(case, "y", Check(case.io["y"], where=quiet)) is None  # golden itself is 0
    turns = Check(np.full(3, 2 * np.pi), against=np.full(3, 2 * np.pi), wrapped=True)
    assert "zeros pass" in toothless(case, "y", turns)


def test_differences_are_seen_where_they_are_compared(tmp_path):
    case = case_of(tmp_path, np.array([1.0, 2.0, 3.0], np.float32), 0.0)
    wrong = np.array([1.0, 2.0, 4.0])
    assert compare(case, "y", Check(wrong)).startswith("y: differs by 1,")
    assert compare(case, "y", Check(wrong, samples=(0, 2))) is None
    assert compare(case, "y", Check(wrong, where=np.array([True, True, False]))) is None
    assert "shape" in compare(case, "y", Check(wrong[:2]))
    assert "not finite" in compare(case, "y", Check(np.array([1.0, 2.0, np.nan])))


def test_settings_tell_what_was_not_looked_at():
    settings = Settings(SETTINGS)
    assert "width" in settings  # which is not reading it
    assert settings.unread() == ["part", "parts", "width"]  # a seed is documentary
    assert settings["part"].get("depth") == 2
    assert settings["parts"][0].unread() == ["parts[0].taps"]
    assert settings.unread() == ["parts[0].taps", "width"]


def test_settings_refuse_what_is_not_built():
    settings = Settings(SETTINGS)
    settings.only("width", 4, 8)
    settings.only("height", 4)  # the original's constant
    with pytest.raises(NotSupportedError, match=r"part\.depth 2 is not supported: only 1 or 3"):
        settings["part"].only("depth", 1, 3)
    with pytest.raises(AssertionError, match="width is 8; the other entries give 9"):
        settings.follows("width", 9)
