"""Export of a codec to a folder that transformers loads, verified before it is called done."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import jax
import numpy as np

from codecbwe_jax import atomic
from codecbwe_jax.codec import transformers
from codecbwe_jax.codec.fbank import stacked_fbank
from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import write_folder
from codecbwe_jax.interop.as_codec import as_codec
from codecbwe_jax.interop.verify import Differences, share
from codecbwe_jax.systems import settings_of
from codecbwe_jax.systems.codec import Codec
from codecbwe_jax.systems.native_istft import NativeIstft

# Share of the peak by which audio decoded from the same tokens may differ: float32 sums in another
# order through the whole decoder.
TOLERANCE = 1e-4
# Share of the tokens that may differ, where a value lies at the edge of a level.
TOKEN_TOLERANCE = 0.01
SECONDS = 2


def export_transformers(
    model: Model, output: Path, codec: Model | None = None, allow_clip_difference: bool = False
) -> Differences:
    """Write a folder for Xcodec2Model or NeuCodecModel, and check it against JAX.

    Args:
      model: a codec, or a native decoder with a rescaled ISTFT head.
      output: folder to make: `config.json`, `model.safetensors`.
      codec: whose encoder stands before a native decoder.
      allow_clip_difference: write the folder even if transformers' fixed magnitude clip is heard.

    Returns:
      The measured differences: "tokens" (share of them), "waveform" (share of the peak), and for a
      native decoder "clip" (relative error that transformers' clip makes on a check set).

    Raises:
      UserError: if the model is neither, or one that transformers has no class for, torch or
        transformers is missing, or the two disagree; then nothing is left behind.
    """
    differences: dict[str, float] = {}
    if isinstance(model.system, NativeIstft):
        model, differences["clip"] = as_codec(model, codec, allow_clip_difference)
    if not isinstance(model.system, Codec):
        raise UserError(
            f"{model.name} is neither a codec nor a native_istft; --format=torch exports others"
        )
    transformers.config_of(model.system)
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"export needs {package} to verify it: pip install {package}")
    with atomic.whole(output) as staged:
        write_folder(model, settings_of(model.system), staged)
        differences |= verify_codec(model, staged)
        tokens, waveform = differences["tokens"], differences["waveform"]
        if tokens > TOKEN_TOLERANCE or not waveform <= TOLERANCE:
            raise UserError(
                f"{output}: transformers differs from JAX in {100 * tokens:.1f} % of tokens and by "
                f"{waveform:.2g} of the audio's peak; nothing was exported"
            )
    return Differences(differences)


def verify_codec(model: Model, folder: Path) -> dict[str, float]:
    """Run a folder by transformers beside the model it was written from, in float32.

    Args:
      model: the codec.
      folder: what was written.

    Raises:
      UserError: if transformers misses a tensor in it or does not know one.
    """
    import torch
    import transformers as library

    system = model.system.computing_in("float32")
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
        encode = jax.jit(lambda p, x: system.network.bind({"params": p}).encode(x))
        ours = encode(model.params, wave)
        decoded = jax.jit(system.decode)(model.params, tokens)
    waveform = share(np.asarray(decoded), audio)
    return {"tokens": float(np.mean(ours != tokens)), "waveform": waveform}
