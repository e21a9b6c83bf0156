"""Export to PyTorch, verified before it is called done."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

import codecbwe_jax.interop.torch
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop import verify
from codecbwe_jax.interop.checkpoints import write_folder
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
# Names of inputs and outputs, and which of their axes have any length.
ANY_LENGTH = (
    (["waveform"], ["wide"]),
    {"waveform": {0: "batch", 1: "samples"}, "wide": {0: "batch", 1: "wide_samples"}},
)
# kind of system -> (its PyTorch file, what runs both)
EXPORTS = {
    ApBwe: ("post_hoc.py", verify.ap_bwe),
    **dict.fromkeys((HifiGanBwe, MusicHifiBwe, HighBand, MsBwe), ("post_hoc.py", verify.post_hoc)),
    StreamingSystem: ("streaming.py", verify.streaming),
    NativeDecoder: ("native.py", verify.native),
}


def export_torch(model: Model, output: Path) -> verify.Differences:
    """Write a folder that needs only torch, and check it against JAX.

    Args:
      model: of a system in `EXPORTS`.
      output: folder to make: `config.json`, `model.safetensors` and the system's PyTorch file.

    Returns:
      The measured differences, as shares of the peak.

    Raises:
      UserError: if the system has no PyTorch file, torch is missing, or the two disagree; then
        nothing is left behind.
    """
    file, run_both = _export_of(model)
    with verified(output) as staged:
        write_folder(model, settings_of(model.system), staged, torch_file(file))
        differences = run_both(model, staged)
        check(differences, output)
    return differences


def export_onnx(model: Model, output: Path) -> verify.Differences:
    """The same with `model.onnx` beside it: of any length, or for a streaming
    system one frame and the state before it, which `begin.safetensors` has for the first frame.

    Args:
      model: of a post-hoc system.
      output: folder to make.

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
    with verified(output) as staged:
        write_folder(model, settings_of(model.system), staged, torch_file(file))
        write_onnx(model.system, staged, file)
        differences = run_both(model, staged)
        differences |= _check_onnx(model, staged)
        check(differences, output)
    return differences


def _check_onnx(model: Model, folder: Path) -> verify.Differences:
    if not isinstance(model.system, ApBwe):
        return verify.onnx(model, folder)
    import torch

    # Its input's upper band is empty and has phases of rounding noise: the same program is run
    # without its resampler, on noise that fills the whole band.
    twin = verify.import_file(folder / "post_hoc.py").load(folder)
    twin.upsample = torch.nn.Identity()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        _program(twin, (torch.zeros(1, model.system.output_rate),), *ANY_LENGTH, path)
        return verify.ap_bwe_onnx(model, path)


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


def _export_of(model: Model) -> tuple[str, Callable[[Model, Path], verify.Differences]]:
    found = [entry for kind, entry in EXPORTS.items() if isinstance(model.system, kind)]
    if not found:
        raise UserError(
            f"{model.name}: this system has no PyTorch export (a codec: --format=transformers)"
        )
    if importlib.util.find_spec("torch") is None:
        raise UserError("export needs torch to verify what it writes: pip install torch")
    return found[0]


def check(differences: verify.Differences, output: Path) -> None:
    """Raise UserError if an export differs from JAX by more than `TOLERANCE`."""
    worst = max(differences.values())
    if not worst <= TOLERANCE:
        raise UserError(
            f"{output}: PyTorch differs from JAX by {worst:.2g} of the peak, more than "
            f"{TOLERANCE:.0e}; nothing was exported"
        )


@contextlib.contextmanager
def verified(output: Path) -> Iterator[Path]:
    """A folder to write and check, which takes the output's place if nothing was raised, and is
    not left behind if something was."""
    staged = output.with_name(f".{output.name}.unverified")
    try:
        yield staged
        shutil.rmtree(output, ignore_errors=True)
        staged.rename(output)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
