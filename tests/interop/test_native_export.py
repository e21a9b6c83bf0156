"""Native decoders in PyTorch: verified at export, and the file alone in a plain process."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.inference.token_decoder import TokenDecoder
from codecbwe_jax.interop import verify
from codecbwe_jax.interop.export import TOLERANCE, export_torch
from codecbwe_jax.systems import build
from tests.conftest import stirred

TRANSFORMER = {"size": 64, "intermediate": 80, "layers": 1, "heads": 4, "head_size": 16}
CONVNEXT = {"kind": "convnext", "size": 64, "intermediate": 80, "layers": 2}
SYSTEMS = [
    {"name": "native_istft", "backbone": TRANSFORMER, "widening": 24},
    {"name": "native_istft", "backbone": CONVNEXT, "n_fft": 2048, "output_rate": 24000},
    {"name": "native_multiband", "backbone": CONVNEXT | {"kind": "wavtokenizer"}, "bands": 4},
    {"name": "native_multistream", "backbone": TRANSFORMER, "bands": 2, "output_rate": 32000},
    {"name": "native_upsampled", "backbone": TRANSFORMER},
    {"name": "native_upsampled", "backbone": TRANSFORMER, "output_rate": 44100},
]


def model_of(settings: dict) -> Model:
    system = build({"features": 32, **settings})
    return Model("native", system, stirred(system.init(jax.random.key(0))), {})


@pytest.mark.parametrize("settings", SYSTEMS, ids=lambda s: s["name"])
def test_export_is_verified_and_loads_again(settings: dict, tmp_path: Path) -> None:
    model = model_of(settings)
    differences = export_torch(model, tmp_path / "export")
    assert 0 < differences.parts["waveform"] <= TOLERANCE  # computed by two programs
    found = load_model(tmp_path / "export")
    assert found.system == model.system
    tokens = np.arange(40)
    first, second = (TokenDecoder(m).decode(tokens) for m in (model, found))
    np.testing.assert_array_equal(first, second)


def test_the_file_runs_alone(tmp_path: Path) -> None:
    export_torch(model_of(SYSTEMS[0]), tmp_path / "export")
    program = (
        "import sys; sys.modules['safetensors'] = sys.modules['numpy'] = None\n"
        "import torch; from model import load\n"
        "y = load('.').decode(torch.arange(20)[None]); print(tuple(y.shape))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "export", capture_output=True, text=True
    )
    assert run.stdout.strip() == "(1, 19200)", run.stderr


def test_a_wrong_export_is_noticed(tmp_path: Path) -> None:
    model = model_of(SYSTEMS[2])
    export_torch(model, tmp_path / "export")
    source = tmp_path / "export" / "model.py"
    source.write_text(source.read_text().replace("(-1.0) ** k", "1.0 ** k"))
    assert verify.native(model, tmp_path / "export", {}).parts["waveform"] > 10 * TOLERANCE


def test_what_has_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sinc: this system has no PyTorch export"):
        export_torch(load_model("sinc"), tmp_path / "export")
