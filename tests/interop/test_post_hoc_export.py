"""Post-hoc systems in PyTorch and in onnxruntime."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop.checkpoints import convert
from codecbwe_jax.interop.export import TOLERANCE, export_onnx, export_torch
from codecbwe_jax.systems import build
from tests.conftest import ROOT, stirred

SYSTEMS = {
    "ap_bwe": {"name": "ap_bwe", "channels": 8, "layers": 2, "n_fft": 320},
    "ms_bwe": {"name": "ms_bwe", "input_rate": 8000, "channels": 8, "layers": 1, "n_fft": 320},
    "ms_bwe_32k": {
        "name": "ms_bwe",
        "output_rate": 32000,
        "channels": 8,
        "layers": 1,
        "n_fft": 320,
    },
    "hifi_gan_bwe": {"name": "hifi_gan_bwe", "channels": 8, "layers": 3},
    "musichifi_bwe": {
        "name": "musichifi_bwe",
        "channels": 32,
        "kernels": (3, 5),
        "dilations": ((1, 3), (1, 2)),
        "n_mels": 8,
    },
    "high_band": {"name": "high_band", "size": 16, "intermediate": 32, "layers": 1},
    "high_band_pqmf": {
        "name": "high_band",
        "output_rate": 48000,
        "synthesis": "pqmf",
        "size": 16,
        "intermediate": 32,
        "layers": 1,
    },
    "bbwexnet": {"name": "bbwexnet", "widths": (4, 6, 8, 8, 8), "bottleneck": 4, "codes": 8},
    "opus_bbwe": {"name": "opus_bbwe", "size": 16},
    "opus_bbwe_32k": {"name": "opus_bbwe", "size": 16, "output_rate": 32000},
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_torch_and_onnxruntime_give_what_jax_gives(name: str, tmp_path: Path) -> None:
    system = build(SYSTEMS[name])
    params = stirred(system.init(jax.random.key(0)))
    differences = export_onnx(Model(name, system, params, {}), tmp_path / "export")
    assert max(differences.values()) <= TOLERANCE
    assert all(differences[k] > 0 for k in differences if "onnx" in k or k == "waveform")
    streams = "onnx stream" in differences
    names = {path.name for path in (tmp_path / "export").iterdir()}
    file = "streaming.py" if streams else "post_hoc.py"
    expected = {"config.json", "model.safetensors", "model.onnx", file}
    assert names == expected | ({"begin.safetensors"} if streams else set())


def test_an_original_checkpoint_goes_in_and_comes_out(tmp_path: Path) -> None:
    """HiFi-GAN+'s files hold a rate beside the weights, and weight norms or plain weights."""
    case = ROOT / "tests/golden/cases/hifi_gan_bwe"
    c = json.loads((case / "config.json").read_text())["small_config"]
    settings = {
        "name": "hifi_gan_bwe",
        "channels": c["wavenet_channels"],
        "layers": c["layers"],
        "stacks": c["stacks"],
    }
    given = load_file(case / "weights.safetensors")
    convert(settings, case / "weights.safetensors", tmp_path / "normed")
    written = load_file(tmp_path / "normed" / "model.safetensors")
    assert written.keys() == given.keys()
    assert all(np.array_equal(written[k], given[k]) for k in given)
    convert(settings, case / "weights_plain.safetensors", tmp_path / "plain")
    x = 0.1 * np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    one, other = (BandwidthExtender.load(tmp_path / n)(x, 16000) for n in ("normed", "plain"))
    # kernels are a rounding apart, and eight layers follow one another
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_streaming_export_runs_alone(tmp_path: Path) -> None:
    system = build(SYSTEMS["opus_bbwe"])
    params = stirred(system.init(jax.random.key(0)))
    export_torch(Model("opus", system, params, {}), tmp_path / "export")
    program = (
        "import sys; sys.modules['safetensors'] = sys.modules['numpy'] = None\n"
        "import torch; from streaming import load\n"
        "model = load('.'); state = model.begin()\n"
        "for _ in range(3): wide, *state = model(torch.zeros(1, 160), *state)\n"
        "print(tuple(wide.shape), len(state))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "export", capture_output=True, text=True
    )
    assert run.stdout.strip() == "(1, 480) 21", run.stderr


def test_tokens_have_no_onnx(tmp_path: Path) -> None:
    model = Model("native", build({"name": "native_istft"}), {}, {})
    with pytest.raises(UserError, match="takes tokens"):
        export_onnx(model, tmp_path / "export")
