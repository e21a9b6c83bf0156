"""Export to PyTorch, verified before it is called done."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

import codecbwe_jax.interop.torch
from codecbwe_jax.audio.stft import phase, stft
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop.checkpoints import write_folder
from codecbwe_jax.systems.ap_bwe import AMPLITUDE_FLOOR, ApBwe

# Share of the peak by which the two may differ: sums of 512 float32 products in another order,
# through 8 blocks.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far PyTorch and JAX differ, as shares of the peak.

    Attributes:
      network: output spectra for the same log-amplitude and phase.
      resampler: upsampled waveforms.
      waveform: resynthesised waveforms of wide-band noise, away from the ends. The first and last
        frames are symmetric by reflection and empty bins hold rounding noise: their phase is
        random in any implementation, so the comparison keeps away from both.
    """

    network: float
    resampler: float
    waveform: float

    @property
    def worst(self) -> float:
        return max(self.network, self.resampler, self.waveform)


def export_torch(model: Model, output: Path) -> Agreement:
    """Write a folder that needs only torch, and check it against JAX.

    Args:
      model: an AP-BWE model.
      output: folder to make: `config.json`, `model.safetensors`, `ap_bwe.py`.

    Returns:
      The measured differences.

    Raises:
      UserError: if the system has no PyTorch file, torch is missing, or the two disagree; then
        nothing is left behind.
    """
    if not isinstance(model.system, ApBwe):
        raise UserError(
            f"{model.name}: this system has no PyTorch export (a codec: --format=transformers)"
        )
    if importlib.util.find_spec("torch") is None:
        raise UserError("export needs torch to verify what it writes: pip install torch")
    settings = {"name": "ap_bwe", **dataclasses.asdict(model.system)}
    source = Path(codecbwe_jax.interop.torch.__path__[0]) / "ap_bwe.py"
    with verified(output) as staged:
        write_folder(model, settings, staged, source)
        agreement = verify(model, staged)
        if not agreement.worst <= TOLERANCE:
            raise UserError(
                f"{output}: PyTorch differs from JAX by {agreement.worst:.2g} of the peak, "
                f"more than {TOLERANCE:.0e}; nothing was exported"
            )
    return agreement


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


def verify(model: Model, folder: Path) -> Agreement:
    """Run an exported folder's own file beside the model.

    Args:
      model: the AP-BWE model that was exported.
      folder: the export.
    """
    import torch

    system = dataclasses.replace(model.system, compute_dtype="float32")
    twin = import_file(folder / "ap_bwe.py").ApBwe.load(folder)
    rng = np.random.default_rng(0)
    narrow = 0.1 * rng.standard_normal((1, system.input_rate // 4), np.float32)
    wide = 0.1 * rng.standard_normal((1, system.output_rate // 4), np.float32)
    z = stft(wide, system.n_fft, system.hop_length, system.win_length)
    features = [np.asarray(f) for f in (np.log(np.abs(z) + AMPLITUDE_FLOOR), phase(z))]

    with jax.default_matmul_precision("highest"), torch.inference_mode():
        out = jax.jit(lambda p, *f: system.network.apply({"params": p}, *f))(
            model.params, *features
        )
        resynthesised = jax.jit(lambda p, w: system.synthesise(system.generate(p, w)["spectrum"]))(
            model.params, wide
        )
        mag, angle = (
            t.numpy().swapaxes(1, 2)
            for t in twin(*(torch.from_numpy(f.swapaxes(1, 2).copy()) for f in features))
        )
        theirs = twin.resynthesise(torch.from_numpy(wide)).numpy()
        upsampled = twin.upsample(torch.from_numpy(narrow)).numpy()
    ours = np.exp(out["log_amplitude"] + 1j * np.arctan2(out["imag"], out["real"]))
    edge = round(system.receptive_field * system.output_rate / system.input_rate) + system.n_fft
    inside = slice(edge, wide.shape[1] - edge)
    return Agreement(
        network=share(ours, np.exp(mag + 1j * angle)),
        resampler=share(np.asarray(system.upsample(narrow)), upsampled),
        waveform=share(np.asarray(resynthesised)[:, inside], theirs[:, inside]),
    )


def share(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference as a share of the peak."""
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def import_file(path: Path) -> ModuleType:
    """Import a Python file that lies outside every package."""
    spec = importlib.util.spec_from_file_location(f"exported_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
