"""Systems that are compared behind their resampler too, on noise that fills the band.

Their input's upper band is empty and they see its phases, which are those of rounding noise: no two
programs agree on what they give for speech.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import jax
import numpy as np

from codecbwe_jax.audio.stft import phase, stft
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop import onnx_program
from codecbwe_jax.interop.differences import Differences, share
from codecbwe_jax.systems.ap_bwe import AMPLITUDE_FLOOR, ApBwe
from codecbwe_jax.systems.base import System

if TYPE_CHECKING:
    import torch


def is_probed(system: System) -> TypeGuard[ApBwe]:
    """Whether a system is one of them, of a kind that is probed here."""
    return isinstance(system, ApBwe) and system.decided_by_rounding


def in_torch(model: Model, twin: torch.nn.Module) -> Differences:
    """PyTorch beside JAX: "network" (output spectra for the same log-amplitude and phase),
    "resampler", and "waveform" (resynthesised, away from the ends: the first and last frames are
    symmetric by reflection, so that their phase is random in any implementation).

    Args:
      model: what was exported.
      twin: the export's model.
    """
    import torch

    system = model.system.computing_in("float32")
    rng = np.random.default_rng(0)
    narrow = 0.1 * rng.standard_normal((1, system.input_rate // 4), np.float32)
    wide = 0.1 * rng.standard_normal((1, system.output_rate // 4), np.float32)
    z = stft(wide, system.n_fft, system.hop_length, system.win_length)
    features = [np.asarray(f) for f in (np.log(np.abs(z) + AMPLITUDE_FLOOR), phase(z))]

    with jax.default_matmul_precision("highest"), torch.inference_mode():
        out = jax.jit(lambda p, *f: system.network.bind({"params": p})(*f))(model.params, *features)
        mag, angle = (
            t.numpy().swapaxes(1, 2)
            for t in twin.network(*(torch.from_numpy(f.swapaxes(1, 2).copy()) for f in features))
        )
        theirs = twin.resynthesise(torch.from_numpy(wide)).numpy()
        upsampled = twin.upsample(torch.from_numpy(narrow)).numpy()
    spectra = np.exp(out["log_amplitude"] + 1j * np.arctan2(out["imag"], out["real"]))
    ours = _resynthesised(model, wide)
    return Differences(
        {
            "network": share(spectra, np.exp(mag + 1j * angle)),
            "resampler": share(np.asarray(system.upsample(narrow)), upsampled),
            "waveform": _share_inside(ours, theirs, _edge(system) + system.n_fft),
        }
    )


def in_onnx(model: Model, twin: torch.nn.Module) -> Differences:
    """onnxruntime beside JAX: "onnx", the program without its resampler.

    Args:
      model: what was exported.
      twin: the export's model, whose `forward` is replaced.
    """
    import torch

    system = model.system
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, system.output_rate // 2), np.float32)
    twin.forward = twin.resynthesise
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        onnx_program.write_for_any_length(twin, path, torch.zeros(1, system.output_rate))
        (theirs,) = onnx_program.session(path).run(None, {"waveform": noise})
    ours = _resynthesised(model, noise)
    return Differences({"onnx": _share_inside(ours, theirs, _edge(system))})


def _resynthesised(model: Model, wide: np.ndarray) -> np.ndarray:
    system = model.system.computing_in("float32")
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(system.resynthesise)(model.params, wide))


def _edge(system: System) -> int:
    """Samples of the output that an end of the input has touched."""
    return round(system.receptive_field * system.output_rate / system.input_rate)


def _share_inside(ours: np.ndarray, theirs: np.ndarray, edge: int) -> float:
    """Largest difference without so many samples at both ends, as a share of the peak."""
    return share(ours[:, edge:-edge], theirs[:, edge:-edge])
