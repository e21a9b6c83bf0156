"""The losses a config may name, as functions of predicted and true features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from codecbwe_jax.audio.mel import MelSettings
from codecbwe_jax.fields import MISSING, Field, Group, NotNegative, fields_of, named
from codecbwe_jax.losses import codes, mel, spectral, stft, subband, waveform
from codecbwe_jax.systems.base import Features, System

Reconstruction = Callable[..., jax.Array]


def _phase(predicted: Features, target: Features, system: System) -> jax.Array:
    losses = spectral.phase_losses(target["phase"], predicted["phase"])
    return sum(losses.values(), jnp.float32(0))


def _log_mel(p: Features, t: Features, system: System, **settings: Any) -> jax.Array:
    made = MelSettings(system.output_rate, **settings)
    return mel.log_mel_l1(t["waveform"], p["waveform"], made)


def _upper_band_mel(
    p: Features, t: Features, system: System, band_edge_hz: float | None = None, **settings: Any
) -> jax.Array:
    edge = system.input_rate / 2 if band_edge_hz is None else band_edge_hz
    return mel.upper_band_mel(t["waveform"], p["waveform"], system.output_rate, edge, **settings)


class Loss(NamedTuple):
    """A loss of (predicted features, true features, system, its own settings).

    Attributes:
      compute: the function.
      settings: the functions whose arguments are settings of it; the first that has one counts.
      implied: those that follow from the system where they are None.
    """

    compute: Reconstruction
    settings: tuple[Callable[..., Any], ...] = ()
    implied: tuple[str, ...] = ()

    def fields(self, _: Mapping[str, Any]) -> dict[str, Field]:
        """What its entry in a config may have."""
        found = {"weight": Field(NotNegative, MISSING, "of the loss in the generator's")}
        for function in reversed(self.settings):
            found |= fields_of(function, GIVEN)
        for name in self.implied:
            found[name] = found[name]._replace(kind=found[name].kind | None, default=None)
        return found


# arguments of losses that are no settings
GIVEN = ("target", "predicted", "rate", "settings", "filterbanks")
LOSSES: dict[str, Loss] = {
    "amplitude": Loss(
        lambda p, t, s: spectral.amplitude_mse(t["log_amplitude"], p["log_amplitude"])
    ),
    "phase": Loss(_phase),
    "complex": Loss(lambda p, t, s: spectral.complex_mse(t["spectrum"], p["spectrum"])),
    "consistency": Loss(lambda p, t, s: spectral.complex_mse(p["spectrum"], p["reanalysed"])),
    "multi_scale_mel": Loss(
        lambda p, t, s, **kw: mel.multi_scale_mel(
            t["waveform"], p["waveform"], s.output_rate, **kw
        ),
        (mel.multi_scale_mel,),
    ),
    "upper_band_mel": Loss(_upper_band_mel, (mel.upper_band_mel,), ("band_edge_hz",)),
    "log_mel": Loss(_log_mel, (MelSettings,)),
    "log_stft": Loss(
        lambda p, t, s, **kw: stft.log_stft_l1(t["waveform"], p["waveform"], **kw),
        (stft.log_stft_l1,),
    ),
    "multi_resolution_stft": Loss(
        lambda p, t, s, **kw: stft.multi_resolution_stft(t["waveform"], p["waveform"], **kw)[0],
        (stft.multi_resolution_stft,),
    ),
    "subband_stft": Loss(
        lambda p, t, s, **kw: subband.subband_stft(
            t["waveform"], p["waveform"], s.output_rate, **kw
        ),
        (subband.subband_stft, stft.multi_resolution_stft),
    ),
    "code_spread": Loss(lambda p, t, s: codes.code_spread(p["projected"])),
    "waveform_l1": Loss(lambda p, t, s: waveform.waveform_l1(t["waveform"], p["waveform"])),
}
Settings = named(LOSSES, lambda name: Annotated[dict, Group(LOSSES[name].fields)])


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
        name: LOSSES[name]
        .compute(predicted, target, system, **{k: v for k, v in dict(s).items() if k != "weight"})
        .astype(jnp.float32)
        for name, s in chosen.items()
    }
