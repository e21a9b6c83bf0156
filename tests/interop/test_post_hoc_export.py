"""Post-hoc systems in PyTorch and in onnxruntime."""

import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file, save_file

from codecbwe_jax.config import load_config
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop import verify
from codecbwe_jax.interop.bundle import FOLDER
from codecbwe_jax.interop.convert import convert
from codecbwe_jax.interop.differences import Differences
from codecbwe_jax.interop.export import SPEECH_TOLERANCE, export_onnx, export_torch
from codecbwe_jax.interop.torch.opus_bbwe import OpusBbwe
from codecbwe_jax.systems import REGISTRY, build
from tests.conftest import ROOT, stirred

SYSTEMS = {
    "ap_bwe": {"name": "ap_bwe", "channels": 8, "layers": 2, "n_fft": 320, "phase_floor": 1e-3},
    "ap_bwe_official": {"name": "ap_bwe", "channels": 8, "layers": 2, "n_fft": 320},
    "ms_bwe": {
        "name": "ms_bwe",
        "input_rate": 8000,
        "channels": 8,
        "layers": 1,
        "n_fft": 320,
        "phase_floor": 1e-3,
    },
    "ms_bwe_32k": {
        "name": "ms_bwe",
        "output_rate": 32000,
        "channels": 8,
        "layers": 1,
        "n_fft": 320,
    },
    "hifi_gan_bwe": {"name": "hifi_gan_bwe", "channels": 8, "layers": 3},
    "hifi_gan_bwe_any": {"name": "hifi_gan_bwe", "channels": 8, "layers": 3, "input_rate": 44100},
    "musichifi_bwe": {
        "name": "musichifi_bwe",
        "channels": 32,
        "kernels": (3, 5),
        "dilations": ((1, 3), (1, 2)),
        "n_mels": 8,
    },
    "bigvgan": {
        "name": "bigvgan",
        "channels": 32,
        "kernels": (3, 5),
        "dilations": ((1, 3), (1, 2)),
        "n_mels": 8,
    },
    "high_band": {"name": "high_band", "size": 16, "intermediate": 32, "layers": 1, "seen": 0.85},
    "high_band_pqmf": {
        "name": "high_band",
        "output_rate": 48000,
        "synthesis": "pqmf",
        "size": 16,
        "intermediate": 32,
        "layers": 1,
    },
    "high_band_24k": {
        "name": "high_band",
        "input_rate": 24000,
        "output_rate": 48000,
        "size": 16,
        "intermediate": 32,
        "layers": 1,
    },
    "high_band_24k_pqmf": {
        "name": "high_band",
        "input_rate": 24000,
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


def unnamed() -> dict[str, dict]:
    """Systems with a PyTorch file that are not in `SYSTEMS`, as their recipes' "tiny" has them."""
    named = {settings["name"] for settings in SYSTEMS.values()}
    files = {path.stem for path in FOLDER.glob("*.py")}
    return {
        name: load_config(f"configs/{name}.py:tiny").system.to_dict()
        for name in sorted(files & set(REGISTRY) - named)
    }


UNNAMED = unnamed()
SYSTEMS |= UNNAMED

# Where lengths are kept by a resampler or by a filter's delay, in each of the ways there are.
EXACT = ("ap_bwe", "ms_bwe", "ms_bwe_32k", "high_band_pqmf", "hifi_gan_bwe_any")


def together(*chosen: str) -> list[pytest.param]:
    """What is exported once for all tests of it, which therefore one worker runs."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in chosen]


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Model, Path, Differences]]:
    """A system's random model, its export with ONNX, and what is measured at that."""

    @functools.cache
    def export(name: str) -> tuple[Model, Path, Differences]:
        system = build(SYSTEMS[name])
        model = Model(name, system, stirred(system.init(jax.random.key(0))), {})
        folder = tmp_path_factory.mktemp(name) / "export"
        return model, folder, export_onnx(model, folder)

    return export


@pytest.mark.parametrize("name", together(*SYSTEMS))
def test_torch_and_onnxruntime_give_what_jax_gives(name: str, exported: Callable) -> None:
    _, folder, differences = exported(name)
    assert max(differences.all.values()) > 0  # computed by two programs
    on_speech = differences.speech
    streams = "onnx stream" in differences.parts
    assert len(on_speech) == (2 if streams else 4)
    # the phases of empty bins decide what the published AP-BWE gives
    agree = max(on_speech.values()) < SPEECH_TOLERANCE / 10
    assert agree != (name == "ap_bwe_official")
    written = {path.name for path in folder.iterdir()}
    expected = {"config.json", "model.safetensors", "model.onnx", "model.py"}
    assert written == expected | ({"begin.safetensors"} if streams else set())


@pytest.mark.parametrize("name", together(*EXACT))
def test_every_length_is_exact_in_torch_and_onnxruntime(name: str, exported: Callable) -> None:
    """From one sample on, as in JAX; at 44.1 kHz the length is a rounded one."""
    model, folder, _ = exported(name)
    system = model.system
    twin = verify.load(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    extend = BandwidthExtender(model, say=str)
    noise = 0.1 * np.random.default_rng(0).standard_normal(4001).astype(np.float32)
    for samples in (1, 2, 3, 79, 1234, 4001):
        ours = extend(noise[:samples], system.input_rate)
        assert len(ours) == round(samples * system.output_rate / system.input_rate)
        given = noise[None, :samples]
        for theirs in (
            twin.extend(torch.from_numpy(given.copy())).numpy(),
            session.run(None, {"waveform": given})[0],
        ):
            assert theirs.shape == (1, len(ours))
            # -60 dB of the input's level, as everywhere on the whole path; what one sample gives is
            # quieter than that level by far
            np.testing.assert_allclose(theirs[0], ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("waveform", "says"),
    [
        (torch.zeros(1600), r"float32 \[1600\]; floats in \[-1, 1\], \(batch, samples\) at 16000"),
        (torch.zeros(1, 0), r"\[1, 0\]; floats"),
        (torch.zeros(1, 1600, dtype=torch.int16), "is torch.int16"),
        (torch.full((1, 1600), torch.nan), "NaN or infinite"),
    ],
)
def test_an_export_says_what_it_cannot_take(
    waveform: torch.Tensor, says: str, small_export: Path
) -> None:
    twin = verify.load(small_export)
    with pytest.raises(ValueError, match=says):
        twin.extend(waveform)
    session = onnxruntime.InferenceSession(small_export / "model.onnx")
    if not waveform.isnan().any():  # a program of ONNX cannot look at values
        with pytest.raises(Exception, match=r"rank|element out of data bounds|data type"):
            session.run(None, {"waveform": waveform.numpy()})


@pytest.fixture(scope="module")
def small_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = build(SYSTEMS["high_band"])
    model = Model("small", system, stirred(system.init(jax.random.key(0))), {})
    folder = tmp_path_factory.mktemp("small") / "export"
    export_onnx(model, folder)
    return folder


def test_an_export_is_checked_on_a_users_clips(tmp_path: Path, corpus: Path) -> None:
    system = build(SYSTEMS["high_band"])
    model = Model("small", system, stirred(system.init(jax.random.key(0))), {})
    differences = export_torch(model, tmp_path / "export", corpus / "voice_00")
    names = {"voices, batch 1", "voices, batch 2", "clips, batch 1", "clips, batch 2"}
    assert names == differences.speech.keys()
    with pytest.raises(UserError, match="no audio files in it"):
        export_torch(model, tmp_path / "other", tmp_path / "export")


def test_an_export_that_gives_another_length_is_refused() -> None:
    system = build(SYSTEMS["high_band"])
    model = Model("short", system, system.init(jax.random.key(0)), {})
    speech = {"voices": [np.full(800, 0.1, np.float32)]}
    with pytest.raises(UserError, match="800 samples give 1599 in the export and 1600 in JAX"):
        verify.on_speech(model, lambda batch: np.zeros((len(batch), 1599), np.float32), speech)


def test_weights_that_are_not_finite_are_named_and_not_written(tmp_path: Path) -> None:
    system = build(SYSTEMS["high_band"])
    params = stirred(system.init(jax.random.key(0)))
    params["head"]["bias"][3] = np.nan
    with pytest.raises(UserError, match=r"broken: NaN or infinity in head\.bias; not written"):
        export_torch(Model("broken", system, params, {}), tmp_path / "export")
    assert list(tmp_path.iterdir()) == []
    save_file({"head.bias": np.float32([1, np.inf])}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w\.safetensors: NaN or infinity in head\.bias"):
        convert(SYSTEMS["high_band"], tmp_path / "w.safetensors", tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


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
        "import torch; from model import load\n"
        "model = load('.'); state = model.begin()\n"
        "for _ in range(3): wide, *state = model(torch.zeros(1, 160), *state)\n"
        "print(tuple(wide.shape), len(state))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "export", capture_output=True, text=True
    )
    assert run.stdout.strip() == "(1, 480) 21", run.stderr


def test_a_stream_says_what_it_cannot_take() -> None:
    twin = OpusBbwe(dataclasses.asdict(build(SYSTEMS["opus_bbwe"])))
    for x, says in (
        (torch.zeros(160), r"float32 \[160\]; floats in \[-1, 1\], \(batch, samples, a multiple"),
        (torch.zeros(1, 100), "a multiple of 160"),
        (torch.full((1, 160), torch.inf), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=says):
            twin(x)
    with pytest.raises(ValueError, match=r"\(batch, samples\), are expected"):
        twin.extend(torch.zeros(1, 0))


def test_tokens_have_no_onnx(tmp_path: Path) -> None:
    model = Model("native", build({"name": "native_istft"}), {}, {})
    with pytest.raises(UserError, match="takes tokens"):
        export_onnx(model, tmp_path / "export")
