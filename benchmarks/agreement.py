"""How far rounding moves what a model gives for speech, on the whole path: in dB below its level.

python -m benchmarks.agreement MODEL [MODEL ...]

Beside PyTorch, one item and two, and, where there is one, the GPU: the input changed by 1e-6 of its
peak, and cut into other chunks.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import torch

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.interop import verify
from codecbwe_jax.interop.differences import rms_share
from codecbwe_jax.interop.export import export_torch
from codecbwe_jax.interop.speech import speech

Extend = Callable[[np.ndarray], np.ndarray]


def on(device: jax.Device, model: Model, precision: str, seconds: float = 4.0) -> Extend:
    """A model on a device, in chunks of so many seconds."""
    with jax.default_device(device):
        extender = BandwidthExtender(model, seconds, say=lambda text: None)

    def extend(wave: np.ndarray) -> np.ndarray:
        with jax.default_device(device), jax.default_matmul_precision(precision):
            return extender(wave, model.system.input_rate)

    return extend


def in_torch(twin: torch.nn.Module, device: str) -> Extend:
    """An export on a device."""
    twin = copy.deepcopy(twin).to(device)
    return lambda wave: twin.extend(torch.from_numpy(wave)[None].to(device))[0].cpu().numpy()


def rows(model: Model) -> dict[str, tuple[Extend, Extend]]:
    """What is compared: name -> (one way, another way)."""
    model = dataclasses.replace(
        model, system=dataclasses.replace(model.system, compute_dtype="float32")
    )
    cpu = on(jax.devices("cpu")[0], model, "highest")
    drawn = np.random.default_rng(0)

    def changed(wave: np.ndarray) -> np.ndarray:
        noise = drawn.uniform(-1, 1, len(wave)).astype(np.float32)
        return cpu(wave + 1e-6 * np.abs(wave).max() * noise)

    found = {
        "input changed by 1e-6 of its peak": (cpu, changed),
        "chunks of 0.37 s": (cpu, on(jax.devices("cpu")[0], model, "highest", 0.37)),
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_torch(model, Path(folder) / "export")
            twin = verify.load(Path(folder) / "export")
        except UserError as error:
            print(f"{model.name}: {error}", file=sys.stderr)
            return found
    found["PyTorch on CPU"] = cpu, in_torch(twin, "cpu")
    if jax.default_backend() == "gpu":
        gpu = jax.devices("gpu")[0]
        found["JAX on GPU, float32"] = cpu, on(gpu, model, "highest")
        found["JAX on GPU, default precision (TF32)"] = cpu, on(gpu, model, "default")
    if torch.cuda.is_available():
        found["PyTorch on GPU"] = cpu, in_torch(twin, "cuda")
    return found


def main(folders: list[str]) -> None:
    for folder in folders:
        model = load_model(folder)
        waves = speech(model.system.input_rate)["voices"]
        for name, (one, other) in rows(model).items():
            worst = max(rms_share(one(wave), other(wave)) for wave in waves)
            print(f"{folder}: {name}: {20 * np.log10(max(worst, 1e-12)):.0f} dB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
