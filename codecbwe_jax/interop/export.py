"""Export to PyTorch, verified before it is called done."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from codecbwe_jax import atomic
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import write_folder
from codecbwe_jax.interop import onnx_program, verify
from codecbwe_jax.interop.bundle import FOLDER, bundle
from codecbwe_jax.interop.differences import Differences
from codecbwe_jax.interop.speech import Speech, speech
from codecbwe_jax.systems import name_of, settings_of
from codecbwe_jax.systems.base import System
from codecbwe_jax.systems.native import NativeDecoder
from codecbwe_jax.systems.streaming import StreamingSystem

# Share of the peak by which the two may differ: sums of hundreds of float32 products in another
# order, through the whole network.
TOLERANCE = 1e-4
# The same for speech on the whole path: -60 dB, below what anybody hears.
SPEECH_TOLERANCE = 1e-3


def export_torch(model: Model, output: Path, clips: Path | None = None) -> Differences:
    """Write a folder that needs only torch, and check it against JAX.

    Args:
      model: of a system that has a file in `interop/torch`.
      output: folder to make: `config.json`, `model.safetensors` and `model.py`.
      clips: folder of audio to check it on, beside synthetic voices.

    Returns:
      The measured differences.

    Raises:
      UserError: if the system has no PyTorch file, torch is missing, or the two disagree; then
        nothing is left behind.
    """
    _check_exports(model)
    given = _speech(model, clips)
    with atomic.whole(output) as staged:
        _write(model, staged)
        differences = verify.in_torch(model, staged, given)
        check(differences, output, model.system)
    return differences


def export_onnx(model: Model, output: Path, clips: Path | None = None) -> Differences:
    """The same with `model.onnx` beside it: of any length, with "noise" as an input where it begins
    in noise, or for a streaming system one frame and the state before it, which `begin.safetensors`
    has for the first frame.

    Args:
      model: of a post-hoc system.
      output: folder to make.
      clips: as for `export_torch`.

    Returns:
      As `export_torch`.

    Raises:
      UserError: as `export_torch`, and if the system takes tokens or a package is missing.
    """
    if model.system.takes != "waveform":
        raise UserError(f"{model.name} takes tokens; --format=onnx is for waveforms")
    missing = [name for name in ("onnx", "onnxruntime") if not importlib.util.find_spec(name)]
    if missing:
        raise UserError(
            f"--format=onnx needs {' and '.join(missing)}: pip install onnx onnxruntime"
        )
    _check_exports(model)
    given = _speech(model, clips)
    with atomic.whole(output) as staged:
        _write(model, staged)
        _write_onnx(model.system, staged)
        differences = verify.in_torch(model, staged, given)
        differences |= verify.in_onnxruntime(model, staged, given)
        check(differences, output, model.system)
    return differences


def _speech(model: Model, clips: Path | None) -> Speech:
    if model.system.takes == "waveform":
        return speech(model.system.input_rate, clips)
    if clips:
        raise UserError(f"{model.name} takes tokens; --check=FOLDER is for waveforms")
    return {}


def _write(model: Model, folder: Path) -> None:
    """The folder, with how its PyTorch file cuts a waveform, and all of how it samples."""
    system = model.system
    running: dict[str, Any] = {"context": system.context, "alignment": system.alignment}
    if system.noise_shape:
        running["noise_shape"] = system.noise_shape
    whole = system.takes == "waveform" and not isinstance(system, StreamingSystem)
    about = {"running": running} if whole else {}
    write_folder(model.sampled({}), settings_of(system), folder, about)
    text = bundle(_torch_file(model))
    (folder / "model.py").write_text(text, encoding="utf-8")


def _write_onnx(system: System, folder: Path) -> None:
    """Write `model.onnx`, and `begin.safetensors` for a streaming system, into an export."""
    import torch

    twin, path = verify.load(folder), folder / "model.onnx"
    if not isinstance(system, StreamingSystem):
        waveform = torch.zeros(1, verify.probe(system).shape[1])
        noise = [twin.noise(waveform, 0)] if system.noise_shape else []
        onnx_program.write_for_any_length(twin, path, waveform, *noise)
        return
    state = {f"state_{i:02d}": t.clone().contiguous() for i, t in enumerate(twin.begin())}
    save_file({name: t.numpy() for name, t in state.items()}, folder / "begin.safetensors")
    given = {"frame": torch.zeros(1, system.frame_length), **state}
    onnx_program.write(twin, given, ["wide", *(f"next_{name}" for name in state)], path)


def _check_exports(model: Model) -> None:
    """Raise UserError if a system has no PyTorch file, or torch is missing."""
    if not _torch_file(model).exists():
        raise UserError(
            f"{model.name}: this system has no PyTorch export (a codec: --format=transformers)"
        )
    if importlib.util.find_spec("torch") is None:
        raise UserError("export needs torch to verify what it writes: pip install torch")


def _torch_file(model: Model) -> Path:
    """What `model.py` is made of; native decoders share one."""
    name = "native" if isinstance(model.system, NativeDecoder) else name_of(model.system)
    return FOLDER / f"{name}.py"


def check(differences: Differences, output: Path, system: System) -> None:
    """Raise UserError if an export differs from JAX by more than `TOLERANCE`, or on speech by more
    than `SPEECH_TOLERANCE`, where the system lets two programs agree on speech."""
    bounds = [(differences.parts, TOLERANCE)]
    if not system.decided_by_rounding:
        bounds.append((differences.speech, SPEECH_TOLERANCE))
    for measured, allowed in bounds:
        for name, difference in measured.items():
            if not difference <= allowed:
                raise UserError(
                    f"{output}: PyTorch differs from JAX by {difference:.2g} ({name}), more than "
                    f"{allowed:.0e}; nothing was exported"
                )
