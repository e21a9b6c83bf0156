"""Export to PyTorch, verified before it is called done."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import codecbwe_jax.interop.torch
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.interop import verify
from codecbwe_jax.interop.checkpoints import write_folder
from codecbwe_jax.systems import settings_of
from codecbwe_jax.systems.ap_bwe import ApBwe
from codecbwe_jax.systems.native import NativeDecoder

# Share of the peak by which the two may differ: sums of hundreds of float32 products in another
# order, through the whole network.
TOLERANCE = 1e-4
# kind of system -> (its PyTorch file, what runs both)
EXPORTS = {
    ApBwe: ("ap_bwe.py", verify.ap_bwe),
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
    found = [entry for kind, entry in EXPORTS.items() if isinstance(model.system, kind)]
    if not found:
        raise UserError(
            f"{model.name}: this system has no PyTorch export (a codec: --format=transformers)"
        )
    if importlib.util.find_spec("torch") is None:
        raise UserError("export needs torch to verify what it writes: pip install torch")
    ((file, run_both),) = found
    source = Path(codecbwe_jax.interop.torch.__path__[0]) / file
    with verified(output) as staged:
        write_folder(model, settings_of(model.system), staged, source)
        differences = run_both(model, staged)
        worst = max(differences.values())
        if not worst <= TOLERANCE:
            raise UserError(
                f"{output}: PyTorch differs from JAX by {worst:.2g} of the peak, more than "
                f"{TOLERANCE:.0e}; nothing was exported"
            )
    return differences


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
