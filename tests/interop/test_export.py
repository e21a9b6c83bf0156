"""Model folders: convert, export, and the exported file alone in a plain PyTorch process."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.interop import behind_resampler, verify
from codecbwe_jax.interop.convert import convert
from codecbwe_jax.interop.export import TOLERANCE, export_torch
from codecbwe_jax.systems.ap_bwe import ApBwe
from codecbwe_jax.weights.files import read_torch
from codecbwe_jax.weights.rules import to_torch

SETTINGS = {"name": "ap_bwe", "channels": 8, "layers": 2}
SYSTEM = ApBwe(channels=8, layers=2)


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    params = SYSTEM.init(jax.random.key(3))
    return to_torch(SYSTEM.torch_rules, params)


@pytest.fixture(scope="module")
def converted(state, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original saves {"generator": state_dict}."""
    folder = tmp_path_factory.mktemp("original")
    tensors = {k: torch.from_numpy(v.copy()) for k, v in state.items()}
    torch.save({"generator": tensors}, folder / "g_16kto48k.pt")
    convert(SETTINGS, folder / "g_16kto48k.pt", folder / "converted")
    return folder / "converted"


def test_convert_keeps_every_bit(converted: Path, state) -> None:
    written = load_file(converted / "model.safetensors")
    assert written.keys() == state.keys()
    assert all(np.array_equal(written[k], state[k]) for k in state)
    facts = json.loads((converted / "config.json").read_text())["facts"]
    assert facts["tensors"] == len(state)
    assert facts["source"] == "g_16kto48k.pt"


def test_export_is_verified_and_runs_alone(converted: Path, tmp_path: Path) -> None:
    agreement = export_torch(load_model(converted), tmp_path / "export")
    parts = [agreement.parts[name] for name in ("network", "resampler", "waveform")]
    assert min(parts) > 0  # computed by two programs
    assert max(parts) <= TOLERANCE
    names = {p.name for p in (tmp_path / "export").iterdir()}
    assert names == {"config.json", "model.safetensors", "model.py"}
    program = (
        "import sys; sys.modules['safetensors'] = sys.modules['numpy'] = None\n"
        "import torch; from model import load\n"
        "y = load('.').extend(torch.zeros(2, 1600)); print(tuple(y.shape))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "export", capture_output=True, text=True
    )
    assert run.stdout.strip() == "(2, 4800)", run.stderr


def test_an_export_loads_again(converted: Path, tmp_path: Path) -> None:
    export_torch(load_model(converted), tmp_path / "export")
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    first, second = (BandwidthExtender.load(f)(x, 16000) for f in (converted, tmp_path / "export"))
    np.testing.assert_array_equal(first, second)


def test_a_wrong_export_is_noticed(converted: Path, tmp_path: Path) -> None:
    model = load_model(converted)
    export_torch(model, tmp_path / "export")
    source = tmp_path / "export" / "model.py"
    source.write_text(source.read_text().replace("pha = pha + mag", "pha = pha + mag / 2"))
    differences = behind_resampler.in_torch(model, verify.load(tmp_path / "export"))
    assert differences.parts["network"] > 10 * TOLERANCE


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    with (tmp_path / "bad.pt").open("wb") as file:
        pickle.dump({"x": Bomb()}, file)
    with pytest.raises(UserError, match="not a checkpoint that can be read safely"):
        read_torch(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def test_wrong_weights_leave_nothing_behind(tmp_path: Path, converted: Path) -> None:
    with pytest.raises(UserError, match="do not fit the network"):
        convert({**SETTINGS, "layers": 3}, converted / "model.safetensors", tmp_path / "other")
    assert list(tmp_path.iterdir()) == []
