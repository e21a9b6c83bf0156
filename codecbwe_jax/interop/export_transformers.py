"""Export of a codec to a folder that transformers loads, verified before it is called done."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import jax
import numpy as np

from codecbwe_jax.codec import transformers
from codecbwe_jax.codec.fbank import stacked_fbank
from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop.checkpoints import write_folder
from codecbwe_jax.interop.export import share, verified
from codecbwe_jax.systems.codec import Codec

# Share of the peak by which audio decoded from the same tokens may differ: float32 sums in another
# order through the whole decoder.
TOLERANCE = 1e-4
# Share of the tokens that may differ, where a value lies at the edge of a level.
TOKEN_TOLERANCE = 0.01
SECONDS = 2


@dataclasses.dataclass(frozen=True)
class CodecAgreement:
    """How far transformers and JAX differ on noise.

    Attributes:
      tokens: share of tokens that differ.
      waveform: audio decoded from the same tokens, as a share of the peak.
    """

    tokens: float
    waveform: float


def export_transformers(model: Model, output: Path) -> CodecAgreement:
    """Write a folder for Xcodec2Model or NeuCodecModel, and check it against JAX.

    Args:
      model: a codec.
      output: folder to make: `config.json`, `model.safetensors`.

    Returns:
      The measured differences.

    Raises:
      UserError: if the model is no codec or one that transformers has no class for, torch or
        transformers is missing, or the two disagree; then nothing is left behind.
    """
    if not isinstance(model.system, Codec):
        raise UserError(f"{model.name} is no codec; --format=torch exports other systems")
    transformers.config_of(model.system)
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"export needs {package} to verify it: pip install {package}")
    with verified(output) as staged:
        write_folder(model, {"name": "codec", **dataclasses.asdict(model.system)}, staged)
        agreement = verify_codec(model, staged)
        if agreement.tokens > TOKEN_TOLERANCE or not agreement.waveform <= TOLERANCE:
            raise UserError(
                f"{output}: transformers differs from JAX in {100 * agreement.tokens:.1f} % of "
                f"tokens and by {agreement.waveform:.2g} of the audio's peak; nothing was exported"
            )
    return agreement


def verify_codec(model: Model, folder: Path) -> CodecAgreement:
    """Run a folder by transformers beside the model it was written from, in float32.

    Args:
      model: the codec.
      folder: what was written.

    Raises:
      UserError: if transformers misses a tensor in it or does not know one.
    """
    import torch
    import transformers as library

    system = dataclasses.replace(model.system, compute_dtype="float32")
    kind = getattr(library, transformers.CLASSES[system.family])
    twin, info = kind.from_pretrained(folder, output_loading_info=True)
    wrong = [*info["missing_keys"], *info["unexpected_keys"]]
    if wrong:
        raise UserError(f"{folder}: transformers misses or does not know {', '.join(wrong[:5])}")
    samples = SECONDS * INPUT_RATE
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, samples - 1), np.float32)
    wave = np.asarray(system.pad(noise))
    features = np.array(stacked_fbank(wave, system.fbank_edge))
    with jax.default_matmul_precision("highest"), torch.inference_mode():
        given = torch.from_numpy(wave[:, None].copy()), torch.from_numpy(features)
        theirs = twin.eval().encode(*given).audio_codes
        audio = twin.decode(theirs).audio_values[:, 0].numpy()
        tokens = np.array(theirs[:, 0].numpy(), np.int32)
        ours = _run(system, "encode")(model.params, wave)
        decoded = _run(system, "decode")(model.params, tokens)
    return CodecAgreement(float(np.mean(ours != tokens)), share(np.asarray(decoded), audio))


def _run(system: Codec, method: str) -> jax.stages.Wrapped:
    return jax.jit(lambda params, x: system.network.apply({"params": params}, x, method=method))
