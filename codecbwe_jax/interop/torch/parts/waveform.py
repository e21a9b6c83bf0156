"""What a model that takes waveforms is given."""

from __future__ import annotations

import torch


def check_waveform(waveform: torch.Tensor, shape: str, multiple: int = 1) -> None:
    """Raise ValueError unless these are finite floats (batch, samples).

    Args:
      waveform: to check.
      shape: in words, for the message.
      multiple: of how many samples they must be.
    """
    whole = waveform.ndim == 2 and waveform.numel() and waveform.shape[1] % multiple == 0
    if not whole or not waveform.is_floating_point():
        raise ValueError(
            f"waveform is {waveform.dtype} {list(waveform.shape)}; floats in [-1, 1], {shape}, are "
            "expected"
        )
    if not waveform.isfinite().all():
        raise ValueError("waveform holds NaN or infinite samples")
