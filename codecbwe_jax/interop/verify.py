"""Run an export's own PyTorch file beside the model that it was written from."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import jax
import numpy as np
from safetensors.numpy import load_file

from codecbwe_jax.audio.stft import phase, stft
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop.speech import Speech
from codecbwe_jax.systems.ap_bwe import AMPLITUDE_FLOOR, ApBwe
from codecbwe_jax.systems.base import System
from codecbwe_jax.systems.streaming import StreamingSystem

if TYPE_CHECKING:
    import onnxruntime

TOKENS = 50
# waveforms `[B, samples]` -> `[B, samples']`
Run = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Differences:
    """How far an export is from JAX, by the names of what was compared.

    Attributes:
      parts: of parts, or on noise or tokens, largest as a share of the peak.
      speech: of speech on the whole path, root mean square as a share of that of ours; such as
        "voices, batch 1".
    """

    parts: dict[str, float] = dataclasses.field(default_factory=dict)
    speech: dict[str, float] = dataclasses.field(default_factory=dict)

    def __or__(self, other: Differences) -> Differences:
        return Differences(self.parts | other.parts, self.speech | other.speech)

    @property
    def all(self) -> dict[str, float]:
        """Both kinds."""
        return self.parts | self.speech


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
    system = dataclasses.replace(model.system, compute_dtype="float32")
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


def rms_share(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Root mean square of the difference as a share of that of ours."""
    power = float(np.mean(np.square(ours, dtype=np.float64)))
    error = float(np.mean(np.square(ours - theirs, dtype=np.float64)))
    return np.sqrt(error / max(power, 1e-20))


def ap_bwe(model: Model, folder: Path) -> Differences:
    """AP-BWE without a phase floor, whose whole path is decided by the phases of empty bins:
    "network" (output spectra for the same log-amplitude and phase), "resampler", and "waveform"
    (resynthesised wide-band noise, away from the ends: the first and last frames are symmetric by
    reflection, so that their phase is random in any implementation).

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
    return Differences(
        {
            "network": share(ours, np.exp(mag + 1j * angle)),
            "resampler": share(np.asarray(system.upsample(narrow)), upsampled),
            "waveform": share(np.asarray(resynthesised)[:, inside], theirs[:, inside]),
        }
    )


def post_hoc(model: Model, folder: Path, speech: Speech) -> Differences:
    """A post-hoc system: speech on the whole path, and the parts of one that has no phase floor.

    Args:
      model: what was exported.
      folder: the export.
      speech: to compare by.
    """
    import torch

    twin = import_file(folder / "post_hoc.py").load(folder)
    differences = on_speech(
        model, lambda batch: twin.extend(torch.from_numpy(batch)).numpy(), speech
    )
    if isinstance(model.system, ApBwe) and decided_by_rounding(model.system):
        differences |= ap_bwe(model, folder)
    return differences


def decided_by_rounding(system: System) -> bool:
    """Whether a system takes the phases of empty bins, so that no two programs agree on speech."""
    return getattr(system, "phase_floor", 1.0) == 0.0


def streaming(model: Model, folder: Path, speech: Speech) -> Differences:
    """A streaming system: "stream", of noise, frame by frame, "waveform", as a whole, and speech.

    Args:
      model: what was exported.
      folder: the export.
      speech: to compare by.
    """
    import torch

    twin = import_file(folder / "streaming.py").load(folder)
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


def onnx(model: Model, folder: Path, speech: Speech) -> Differences:
    """What onnxruntime gives: "onnx stream" of noise, frame by frame, or speech.

    Args:
      model: what was exported.
      folder: the export.
      speech: to compare by.
    """
    session = _session(folder / "model.onnx")
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
    return on_speech(
        model, lambda batch: session.run(None, {"waveform": batch})[0], speech, "onnx "
    )


def ap_bwe_onnx(model: Model, path: Path) -> Differences:
    """AP-BWE's program without its resampler: "onnx", of wide-band noise.

    Args:
      model: what was exported.
      path: of that program.
    """
    system = model.system
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, system.output_rate // 2), np.float32)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda p, w: system.synthesise(system.generate(p, w)["spectrum"]))(
            model.params, noise
        )
    (theirs,) = _session(path).run(None, {"waveform": noise})
    return Differences({"onnx": share(*inside(system, np.asarray(ours), theirs))})


def _session(path: Path) -> onnxruntime.InferenceSession:
    """A program of ONNX on one thread: several wait for one another in a loop."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def probe(system: System) -> np.ndarray:
    """Noise to compare two implementations by, of whole alignments: float32 `[2, samples]`."""
    seconds = max(0.5, 3 * system.receptive_field / system.input_rate)
    samples = -(-round(seconds * system.input_rate) // system.alignment) * system.alignment
    return 0.1 * np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)


def extended(model: Model, noise: np.ndarray) -> np.ndarray:
    """The whole, in JAX."""
    system = dataclasses.replace(model.system, compute_dtype="float32")
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


def inside(system: System, *waveforms: np.ndarray) -> list[np.ndarray]:
    """Waveforms without what their ends have touched."""
    edge = round(system.receptive_field * system.output_rate / system.input_rate)
    return [w[:, edge : w.shape[1] - edge] for w in waveforms]


def native(model: Model, folder: Path, speech: Speech) -> Differences:
    """A native decoder: "waveform", of random tokens.

    Args:
      model: what was exported.
      folder: the export.
      speech: not used: it takes tokens.
    """
    import torch

    del speech

    system = dataclasses.replace(model.system, compute_dtype="float32")
    twin = import_file(folder / "native.py").NativeDecoder.load(folder)
    tokens = np.random.default_rng(0).integers(0, system.codebook_size, (2, TOKENS), np.int32)
    with jax.default_matmul_precision("highest"):
        ours = np.asarray(jax.jit(system.decode)(model.params, tokens))
    return Differences({"waveform": share(ours, twin.decode(torch.from_numpy(tokens)).numpy())})


def share(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference as a share of the peak."""
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def import_file(path: Path) -> ModuleType:
    """Import a Python file that lies outside every package."""
    spec = importlib.util.spec_from_file_location(f"exported_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
