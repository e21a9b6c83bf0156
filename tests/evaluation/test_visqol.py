import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation.visqol import visqol_audio
from tests.conftest import ROOT

CASE = ROOT / "tests" / "golden" / "cases" / "metrics"


@pytest.mark.parametrize("pair", ["identical", "lowpass16k", "band_copy"])
def test_scores_are_the_cases(pair: str) -> None:
    """0.02 is what the case allows between versions of the package."""
    pytest.importorskip("visqol", reason="the visqol extra is not installed")
    io = load_file(CASE / "io.safetensors")
    expected = json.loads((CASE / "config.json").read_text())["expected"][pair]
    waves = [io[name] / np.float32(32768) for name in (f"est_{pair}", "ref_48k")]
    assert visqol_audio(*waves, 48000) == pytest.approx(expected["visqol_audio_48k"], abs=0.02)


def test_without_the_package_one_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "visqol", None)
    with pytest.raises(UserError, match="pip install"):
        visqol_audio(np.zeros(10), np.zeros(10), 48000)
