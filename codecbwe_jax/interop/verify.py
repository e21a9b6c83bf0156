"""Run an export's own PyTorch file beside the model that it was written from."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

from codecbwe_jax.audio.stft import phase, stft
from codecbwe_jax.inference.model import Model
from codecbwe_jax.systems.ap_bwe import AMPLITUDE_FLOOR

# What was compared -> largest difference as a share of the peak.
Differences = dict[str, float]
TOKENS = 50


def ap_bwe(model: Model, folder: Path) -> Differences:
    """AP-BWE: "network" (output spectra for the same log-amplitude and phase), "resampler", and
    "waveform" (resynthesised wide-band noise, away from the ends: the first and last frames are
    symmetric by reflection and empty bins hold rounding noise, so that their phase is random in any
    implementation).

    Args:
      model: what was exported.
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
    return {
        "network": share(ours, np.exp(mag + 1j * angle)),
        "resampler": share(np.asarray(system.upsample(narrow)), upsampled),
        "waveform": share(np.asarray(resynthesised)[:, inside], theirs[:, inside]),
    }


def native(model: Model, folder: Path) -> Differences:
    """A native decoder: "waveform", of random tokens.

    Args:
      model: what was exported.
      folder: the export.
    """
    import torch

    system = dataclasses.replace(model.system, compute_dtype="float32")
    twin = import_file(folder / "native.py").NativeDecoder.load(folder)
    tokens = np.random.default_rng(0).integers(0, system.codebook_size, (2, TOKENS), np.int32)
    with jax.default_matmul_precision("highest"):
        ours = np.asarray(jax.jit(system.decode)(model.params, tokens))
    return {"waveform": share(ours, twin.decode(torch.from_numpy(tokens)).numpy())}


def share(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference as a share of the peak."""
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def import_file(path: Path) -> ModuleType:
    """Import a Python file that lies outside every package."""
    spec = importlib.util.spec_from_file_location(f"exported_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
