"""Run an export's own PyTorch file beside the model that it was written from."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
from safetensors.numpy import load_file

from codecbwe_jax.audio.stft import phase, stft
from codecbwe_jax.inference.model import Model
from codecbwe_jax.systems.ap_bwe import AMPLITUDE_FLOOR
from codecbwe_jax.systems.base import System
from codecbwe_jax.systems.streaming import StreamingSystem

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
    twin = import_file(folder / "post_hoc.py").load(folder)
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
            for t in twin.network(*(torch.from_numpy(f.swapaxes(1, 2).copy()) for f in features))
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


def post_hoc(model: Model, folder: Path) -> Differences:
    """Any other post-hoc system: "waveform", of noise, away from the ends, where reflected frames
    have phases of rounding noise.

    Args:
      model: what was exported.
      folder: the export.
    """
    import torch

    twin = import_file(folder / "post_hoc.py").load(folder)
    noise = probe(model.system)
    theirs = twin.extend(torch.from_numpy(noise)).numpy()
    return {"waveform": share(*inside(model.system, extended(model, noise), theirs))}


def streaming(model: Model, folder: Path) -> Differences:
    """A streaming system: "stream", of noise, frame by frame, and "waveform", as a whole.

    Args:
      model: what was exported.
      folder: the export.
    """
    import torch

    twin = import_file(folder / "streaming.py").load(folder)
    noise = probe(model.system)
    state, pieces = twin.begin(len(noise)), []
    for frame in frames_of(model.system, noise):
        out, *state = twin(torch.from_numpy(frame.copy()), *state)
        pieces.append(out.numpy())
    whole = twin.extend(torch.from_numpy(noise)).numpy()
    return {
        "stream": share(streamed(model, noise), np.concatenate(pieces, axis=1)),
        "waveform": share(extended(model, noise), whole),
    }


def onnx(model: Model, folder: Path) -> Differences:
    """What onnxruntime gives: "onnx stream" frame by frame, or "onnx" of noise of two lengths.

    Args:
      model: what was exported.
      folder: the export.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    system = model.system
    if isinstance(system, StreamingSystem):
        state, pieces = load_file(folder / "begin.safetensors"), []
        noise = probe(system)[:1]
        for frame in frames_of(system, noise):
            out, *after = session.run(None, {"frame": frame, **state})
            state = dict(zip(sorted(state), after, strict=True))
            pieces.append(out)
        ours = streamed(model, noise)
        return {"onnx stream": share(ours, np.concatenate(pieces, axis=1))}
    worst = 0.0
    for noise in (probe(system)[:1], probe(system)[:, : -3 * system.alignment]):
        (theirs,) = session.run(None, {"waveform": noise})
        worst = max(worst, share(*inside(system, extended(model, noise), theirs)))
    return {"onnx": worst}


def ap_bwe_onnx(model: Model, path: Path) -> Differences:
    """AP-BWE's program without its resampler: "onnx", of wide-band noise.

    Args:
      model: what was exported.
      path: of that program.
    """
    import onnxruntime

    system = model.system
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, system.output_rate // 2), np.float32)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda p, w: system.synthesise(system.generate(p, w)["spectrum"]))(
            model.params, noise
        )
    (theirs,) = onnxruntime.InferenceSession(path).run(None, {"waveform": noise})
    return {"onnx": share(*inside(system, np.asarray(ours), theirs))}


def probe(system: System) -> np.ndarray:
    """Noise to compare two implementations by: float32 `[2, samples]`."""
    seconds = max(0.5, 3 * system.receptive_field / system.input_rate)
    samples = -(-round(seconds * system.input_rate) // system.alignment) * system.alignment
    return 0.1 * np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)


def extended(model: Model, noise: np.ndarray) -> np.ndarray:
    """The whole, in JAX."""
    system = dataclasses.replace(model.system, compute_dtype="float32")
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(system.extend)(model.params, noise, jax.random.key(0)))


def streamed(model: Model, noise: np.ndarray) -> np.ndarray:
    """Frame by frame, in JAX."""
    step, begin = jax.jit(model.system.step), jax.jit(model.system.begin, static_argnums=1)
    state = begin(model.params, len(noise))
    pieces = []
    with jax.default_matmul_precision("highest"):
        for frame in frames_of(model.system, noise):
            state, out = step(model.params, state, frame)
            pieces.append(np.asarray(out))
    return np.concatenate(pieces, axis=1)


def frames_of(system: StreamingSystem, noise: np.ndarray) -> list[np.ndarray]:
    """Whole frames `[B, frame_length]`."""
    return np.split(noise, noise.shape[1] // system.frame_length, axis=1)


def inside(system: System, *waveforms: np.ndarray) -> list[np.ndarray]:
    """Waveforms without what their ends have touched."""
    edge = round(system.receptive_field * system.output_rate / system.input_rate)
    return [w[:, edge : w.shape[1] - edge] for w in waveforms]


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
