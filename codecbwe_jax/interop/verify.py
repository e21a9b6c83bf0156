"""Run an export's own PyTorch file beside the model that it was written from."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop import behind_resampler, onnx_program
from codecbwe_jax.interop.differences import Differences, rms_share, share
from codecbwe_jax.interop.speech import Speech
from codecbwe_jax.systems.base import System
from codecbwe_jax.systems.streaming import StreamingSystem

TOKENS = 50
# waveforms `[B, samples]` -> `[B, samples']`
Run = Callable[[np.ndarray], np.ndarray]


def on_speech(model: Model, run: Run, speech: Speech, who: str = "") -> Differences:
    """The whole path, one item at a time and two: "voices, batch 1" and so on.

    Args:
      model: what was exported.
      run: the export.
      speech: to compare by.
      who: stands before the names.

    Raises:
      UserError: if a result has another length.
    """
    system = model.system.computing_in("float32")
    extender = BandwidthExtender(dataclasses.replace(model, system=system), say=lambda text: None)
    differences = {}
    for kind, waves in speech.items():
        for size in (1, 2):
            batches = [_batch(waves, at, size) for at in range(0, len(waves), size)]
            shares = [_on_batch(extender, run, batch) for batch in batches]
            differences[f"{who}{kind}, batch {size}"] = max(shares)
    return Differences(speech=differences)


def _batch(waves: Sequence[np.ndarray], at: int, size: int) -> np.ndarray:
    """So many waveforms from one on, in a circle, as long as the shortest: `[size, samples]`."""
    some = [waves[(at + i) % len(waves)] for i in range(size)]
    return np.stack([wave[: min(map(len, some))] for wave in some])


def _on_batch(extender: BandwidthExtender, run: Run, batch: np.ndarray) -> float:
    with jax.default_matmul_precision("highest"):
        ours = np.stack([extender(wave, extender.system.input_rate) for wave in batch])
    theirs = run(batch)
    if theirs.shape != ours.shape:
        raise UserError(
            f"{extender.model.name}: {batch.shape[1]} samples give {theirs.shape[1]} in the export "
            f"and {ours.shape[1]} in JAX"
        )
    return rms_share(ours, theirs)


def in_torch(model: Model, folder: Path, speech: Speech) -> Differences:
    """What PyTorch gives, by the kind of the system.

    Args:
      model: what was exported.
      folder: the export.
      speech: to compare by.
    """
    if isinstance(model.system, StreamingSystem):
        return streaming(model, folder, speech)
    return (native if model.system.takes == "tokens" else post_hoc)(model, folder, speech)


def post_hoc(model: Model, folder: Path, speech: Speech) -> Differences:
    """A post-hoc system: speech on the whole path, and what `behind_resampler` has of some.

    Args:
      model: what was exported.
      folder: the export.
      speech: to compare by.
    """
    import torch

    twin = load(folder)

    def run(batch: np.ndarray) -> np.ndarray:
        given = map(torch.from_numpy, given_beside(model, batch).values())
        return twin.extend(torch.from_numpy(batch), *given).numpy()

    differences = on_speech(model, run, speech)
    if behind_resampler.is_probed(model.system):
        differences |= behind_resampler.in_torch(model, twin)
    return differences


def given_beside(model: Model, waveforms: np.ndarray) -> dict[str, np.ndarray]:
    """What an export is given beside waveforms `[B, samples]`: the "noise" that the model draws for
    them as wholes, reflected at both ends, `[B, frames, *noise_shape]`, if it draws any."""
    system = model.system
    if not system.noise_shape:
        return {}
    frames = -(-(waveforms.shape[1] + 2 * system.context) // system.alignment)
    sampling = system.sampling(model.sampling, -system.context // system.alignment)
    # each waveform is extended by itself, from the same seed
    noise = np.asarray(sampling.noise(frames, *system.noise_shape))
    return {"noise": np.repeat(noise, len(waveforms), axis=0)}


def streaming(model: Model, folder: Path, speech: Speech) -> Differences:
    """A streaming system: "stream", of noise, frame by frame, "waveform", as a whole, and speech.

    Args:
      model: what was exported.
      folder: the export.
      speech: to compare by.
    """
    import torch

    twin = load(folder)
    noise = probe(model.system)
    state, pieces = twin.begin(len(noise)), []
    for frame in frames_of(model.system, noise):
        out, *state = twin(torch.from_numpy(frame.copy()), *state)
        pieces.append(out.numpy())
    whole = twin.extend(torch.from_numpy(noise)).numpy()
    parts = {
        "stream": share(streamed(model, noise), np.concatenate(pieces, axis=1)),
        "waveform": share(extended(model, noise), whole),
    }
    return Differences(parts) | on_speech(
        model, lambda batch: twin.extend(torch.from_numpy(batch)).numpy(), speech
    )


def in_onnxruntime(model: Model, folder: Path, speech: Speech) -> Differences:
    """What onnxruntime gives: "onnx stream" of noise, frame by frame, or what `post_hoc` compares.

    Args:
      model: what was exported.
      folder: the export.
      speech: to compare by.
    """
    session = onnx_program.session(folder / "model.onnx")
    system = model.system
    if isinstance(system, StreamingSystem):
        state, pieces = load_file(folder / "begin.safetensors"), []
        noise = probe(system)[:1]
        for frame in frames_of(system, noise):
            out, *after = session.run(None, {"frame": frame, **state})
            state = dict(zip(sorted(state), after, strict=True))
            pieces.append(out)
        ours = streamed(model, noise)
        return Differences({"onnx stream": share(ours, np.concatenate(pieces, axis=1))})

    def run(batch: np.ndarray) -> np.ndarray:
        return session.run(None, {"waveform": batch, **given_beside(model, batch)})[0]

    differences = on_speech(model, run, speech, "onnx ")
    if behind_resampler.is_probed(system):
        differences |= behind_resampler.in_onnx(model, load(folder))
    return differences


def probe(system: System) -> np.ndarray:
    """Noise to compare two implementations by, of whole alignments: float32 `[2, samples]`."""
    seconds = max(0.5, 3 * system.receptive_field / system.input_rate)
    samples = -(-round(seconds * system.input_rate) // system.alignment) * system.alignment
    return 0.1 * np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)


def extended(model: Model, noise: np.ndarray) -> np.ndarray:
    """The whole, in JAX."""
    system = model.system.computing_in("float32")
    with jax.default_matmul_precision("highest"):
        return np.asarray(
            jax.jit(system.extend)(model.params, noise, system.sampling(model.sampling))
        )


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


def native(model: Model, folder: Path, speech: Speech) -> Differences:
    """A native decoder: "waveform", of random tokens.

    Args:
      model: what was exported.
      folder: the export.
      speech: not used: it takes tokens.
    """
    import torch

    del speech

    system = model.system.computing_in("float32")
    twin = load(folder)
    tokens = np.random.default_rng(0).integers(0, system.codebook_size, (2, TOKENS), np.int32)
    with jax.default_matmul_precision("highest"):
        ours = np.asarray(jax.jit(system.decode)(model.params, tokens))
    return Differences({"waveform": share(ours, twin.decode(torch.from_numpy(tokens)).numpy())})


def load(folder: Path) -> Any:
    """The PyTorch model of an export, by its own file."""
    return import_file(folder / "model.py").load(folder)


def import_file(path: Path) -> ModuleType:
    """Import a Python file that lies outside every package."""
    spec = importlib.util.spec_from_file_location(f"exported_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
