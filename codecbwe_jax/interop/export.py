"""Export to PyTorch, verified before it is called done."""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

import codecbwe_jax.interop.torch
from codecbwe_jax import atomic
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model, write_folder
from codecbwe_jax.interop import verify
from codecbwe_jax.interop.speech import Speech, speech
from codecbwe_jax.systems import settings_of
from codecbwe_jax.systems.ap_bwe import ApBwe
from codecbwe_jax.systems.base import System
from codecbwe_jax.systems.hifi_gan_bwe import HifiGanBwe
from codecbwe_jax.systems.high_band import HighBand
from codecbwe_jax.systems.ms_bwe import MsBwe
from codecbwe_jax.systems.musichifi_bwe import MusicHifiBwe
from codecbwe_jax.systems.native import NativeDecoder
from codecbwe_jax.systems.streaming import StreamingSystem

# Share of the peak by which the two may differ: sums of hundreds of float32 products in another
# order, through the whole network.
TOLERANCE = 1e-4
# The same for speech on the whole path: -60 dB, below what anybody hears.
SPEECH_TOLERANCE = 1e-3
# Names of inputs and outputs, and which of their axes have any length.
ANY_LENGTH = (
    (["waveform"], ["wide"]),
    {"waveform": {0: "batch", 1: "samples"}, "wide": {0: "batch", 1: "wide_samples"}},
)
# kind of system -> (its PyTorch file, what runs both)
EXPORTS = {
    **dict.fromkeys(
        (ApBwe, HifiGanBwe, MusicHifiBwe, HighBand, MsBwe), ("post_hoc.py", verify.post_hoc)
    ),
    StreamingSystem: ("streaming.py", verify.streaming),
    NativeDecoder: ("native.py", verify.native),
}


def export_torch(model: Model, output: Path, clips: Path | None = None) -> verify.Differences:
    """Write a folder that needs only torch, and check it against JAX.

    Args:
      model: of a system in `EXPORTS`.
      output: folder to make: `config.json`, `model.safetensors` and the system's PyTorch file.
      clips: folder of audio to check it on, beside synthetic voices.

    Returns:
      The measured differences.

    Raises:
      UserError: if the system has no PyTorch file, torch is missing, or the two disagree; then
        nothing is left behind.
    """
    file, run_both = _export_of(model)
    given = _speech(model, clips)
    with atomic.whole(output) as staged:
        _write(model, staged, file)
        differences = run_both(model, staged, given)
        check(differences, output, model.system)
    return differences


def export_onnx(model: Model, output: Path, clips: Path | None = None) -> verify.Differences:
    """The same with `model.onnx` beside it: of any length, or for a streaming
    system one frame and the state before it, which `begin.safetensors` has for the first frame.

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
    file, run_both = _export_of(model)
    given = _speech(model, clips)
    with atomic.whole(output) as staged:
        _write(model, staged, file)
        write_onnx(model.system, staged, file)
        differences = run_both(model, staged, given)
        differences |= _check_onnx(model, staged, given)
        check(differences, output, model.system)
    return differences


def _speech(model: Model, clips: Path | None) -> Speech:
    if model.system.takes == "waveform":
        return speech(model.system.input_rate, clips)
    if clips:
        raise UserError(f"{model.name} takes tokens; --check=FOLDER is for waveforms")
    return {}


def _write(model: Model, folder: Path, file: str) -> None:
    """The folder, with how the file beside it cuts a waveform."""
    system = model.system
    running = {"context": system.context, "alignment": system.alignment}
    about = {"running": running} if file == "post_hoc.py" else {}
    write_folder(model, settings_of(system), folder, torch_file(file), about)


def _check_onnx(model: Model, folder: Path, given: Speech) -> verify.Differences:
    differences = verify.onnx(model, folder, given)
    if not isinstance(model.system, ApBwe) or not verify.decided_by_rounding(model.system):
        return differences
    import torch

    # Its input's upper band is empty and has phases of rounding noise: the same program is run
    # without its resampler, on noise that fills the whole band.
    twin = verify.import_file(folder / "post_hoc.py").load(folder)
    twin.upsample = torch.nn.Identity()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        twin.forward = twin.run
        _program(twin, (torch.zeros(1, model.system.output_rate),), *ANY_LENGTH, path)
        return differences | verify.ap_bwe_onnx(model, path)


def write_onnx(system: System, folder: Path, file: str) -> None:
    """Write `model.onnx`, and `begin.safetensors` for a streaming system, into an export."""
    import torch

    twin = verify.import_file(folder / file).load(folder)
    if isinstance(system, StreamingSystem):
        first = twin.begin()
        names = [f"state_{i:02d}" for i in range(len(first))]
        tensors = {n: t.clone().contiguous() for n, t in zip(names, first, strict=True)}
        save_file({n: t.numpy() for n, t in tensors.items()}, folder / "begin.safetensors")
        given = (torch.zeros(1, system.frame_length), *tensors.values())
        ends = (["frame", *names], ["wide", *(f"next_{n}" for n in names)])
        lengths = {}
    else:
        given = (torch.zeros(1, verify.probe(system).shape[1]),)
        ends, lengths = ANY_LENGTH
    _program(twin, given, ends, lengths, folder / "model.onnx")


def _program(
    module: Any,
    given: tuple[Any, ...],
    ends: tuple[list[str], list[str]],
    lengths: dict[str, dict[int, str]],
    path: Path,
) -> None:
    import torch

    with warnings.catch_warnings():
        # The newer exporter (dynamo) takes a minute for a network of a few layers and, in torch
        # 2.13, makes a wrong program of Opus' padded filters; this one is called out of date.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            given,
            path,
            input_names=ends[0],
            output_names=ends[1],
            dynamic_axes=lengths,
            opset_version=17,
            dynamo=False,
        )


def torch_file(name: str) -> Path:
    """A PyTorch file that an export carries."""
    return Path(codecbwe_jax.interop.torch.__path__[0]) / name


def _export_of(model: Model) -> tuple[str, Callable[[Model, Path, Speech], verify.Differences]]:
    found = [entry for kind, entry in EXPORTS.items() if isinstance(model.system, kind)]
    if not found:
        raise UserError(
            f"{model.name}: this system has no PyTorch export (a codec: --format=transformers)"
        )
    if importlib.util.find_spec("torch") is None:
        raise UserError("export needs torch to verify what it writes: pip install torch")
    return found[0]


def check(differences: verify.Differences, output: Path, system: System) -> None:
    """Raise UserError if an export differs from JAX by more than `TOLERANCE`, or on speech by more
    than `SPEECH_TOLERANCE`, where the system lets two programs agree on speech."""
    bounds = [(differences.parts, TOLERANCE)]
    if not verify.decided_by_rounding(system):
        bounds.append((differences.speech, SPEECH_TOLERANCE))
    for measured, allowed in bounds:
        for name, difference in measured.items():
            if not difference <= allowed:
                raise UserError(
                    f"{output}: PyTorch differs from JAX by {difference:.2g} ({name}), more than "
                    f"{allowed:.0e}; nothing was exported"
                )
