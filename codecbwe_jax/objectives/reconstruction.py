"""The losses a config may name, as functions of predicted and true features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from codecbwe_jax.errors import UserError
from codecbwe_jax.losses import codes, mel, spectral, stft, subband, waveform
from codecbwe_jax.systems.base import Features, System

Reconstruction = Callable[..., jax.Array]


def _phase(predicted: Features, target: Features, system: System) -> jax.Array:
    return sum(spectral.phase_losses(target["phase"], predicted["phase"]).values())


def _log_mel(p: Features, t: Features, system: System, **settings: Any) -> jax.Array:
    settings = mel.MelSettings(system.output_rate, **settings)
    return mel.log_mel_l1(t["waveform"], p["waveform"], settings)


def _upper_band_mel(p: Features, t: Features, system: System, **settings: Any) -> jax.Array:
    settings.setdefault("band_edge_hz", system.input_rate / 2)
    return mel.upper_band_mel(t["waveform"], p["waveform"], system.output_rate, **settings)


# name -> function of (predicted features, true features, system, settings)
LOSSES: dict[str, Reconstruction] = {
    "amplitude": lambda p, t, s: spectral.amplitude_mse(t["log_amplitude"], p["log_amplitude"]),
    "phase": _phase,
    "complex": lambda p, t, s: spectral.complex_mse(t["spectrum"], p["spectrum"]),
    "consistency": lambda p, t, s: spectral.complex_mse(p["spectrum"], p["reanalysed"]),
    "multi_scale_mel": lambda p, t, s, **kw: mel.multi_scale_mel(
        t["waveform"], p["waveform"], s.output_rate, **kw
    ),
    "upper_band_mel": _upper_band_mel,
    "log_mel": _log_mel,
    "log_stft": lambda p, t, s, **kw: stft.log_stft_l1(t["waveform"], p["waveform"], **kw),
    "multi_resolution_stft": lambda p, t, s, **kw: stft.multi_resolution_stft(
        t["waveform"], p["waveform"], **kw
    )[0],
    "subband_stft": lambda p, t, s, **kw: subband.subband_stft(
        t["waveform"], p["waveform"], s.output_rate, **kw
    ),
    "code_spread": lambda p, t, s: codes.code_spread(p["projected"]),
    "waveform_l1": lambda p, t, s: waveform.waveform_l1(t["waveform"], p["waveform"]),
}


def reconstruction_losses(
    predicted: Features, target: Features, system: System, chosen: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """Unweighted values of the chosen losses.

    Args:
      predicted, target: features from `System.predict` and `System.target`.
      system: for rates.
      chosen: name -> {"weight": ..., and the loss's own settings}.

    Returns:
      name -> float32 scalar.
    """
    return {
        name: LOSSES[name](
            predicted, target, system, **{k: v for k, v in dict(s).items() if k != "weight"}
        ).astype(jnp.float32)
        for name, s in chosen.items()
    }


def check(chosen: Mapping[str, Any]) -> None:
    """Raise UserError if a config names an unknown loss or gives no weight."""
    for name, settings in chosen.items():
        if name not in LOSSES:
            raise UserError(f"config.objective.losses.{name}: known are {', '.join(LOSSES)}")
        if "weight" not in settings:
            raise UserError(f"config.objective.losses.{name} has no weight")
