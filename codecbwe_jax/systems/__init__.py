"""Ways to extend bandwidth, one file each, and the registry that names them."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codecbwe_jax.errors import UserError

if TYPE_CHECKING:
    from codecbwe_jax.systems.base import System

REGISTRY: dict[str, str] = {
    "ap_bwe": "codecbwe_jax.systems.ap_bwe:ApBwe",
    "hifi_gan_bwe": "codecbwe_jax.systems.hifi_gan_bwe:HifiGanBwe",
    "musichifi_bwe": "codecbwe_jax.systems.musichifi_bwe:MusicHifiBwe",
    "high_band": "codecbwe_jax.systems.high_band:HighBand",
    "ms_bwe": "codecbwe_jax.systems.ms_bwe:MsBwe",
    "bbwexnet": "codecbwe_jax.systems.bbwexnet:BbwexNet",
    "opus_bbwe": "codecbwe_jax.systems.opus_bbwe:OpusBbwe",
    "native_istft": "codecbwe_jax.systems.native_istft:NativeIstft",
    "native_multiband": "codecbwe_jax.systems.native_multiband:NativeMultiband",
    "native_multistream": "codecbwe_jax.systems.native_multistream:NativeMultistream",
    "native_upsampled": "codecbwe_jax.systems.native_upsampled:NativeUpsampled",
    "codec": "codecbwe_jax.systems.codec:Codec",
    "sinc": "codecbwe_jax.systems.baselines:Sinc",
    "band_replication": "codecbwe_jax.systems.baselines:BandReplication",
}


def name_of(system: System) -> str:
    """Key in `REGISTRY`."""
    names = {entry.split(":")[1]: name for name, entry in REGISTRY.items()}
    return names[type(system).__name__]


def check_hears(system: System, codec: System) -> None:
    """Raise UserError if a system of waveforms does not take what a codec decodes to."""
    given, wanted = codec.output_rate, system.input_rate
    if given == wanted:
        return
    says = f"the codec decodes to {given} Hz, {name_of(system)} takes {wanted} Hz"
    if system.one_rate:
        raise UserError(
            f"{says} alone: give a codec that decodes to {wanted} Hz, or none (evaluate without "
            "--codec, train with --config.data.input=lowpass)"
        )
    raise UserError(f"{says}: train it for this codec with config.system.input_rate={given}")


def settings_of(system: System) -> dict[str, Any]:
    """What `build` makes an equal system of: "name", and the system's own fields."""
    settings = {"name": name_of(system), **dataclasses.asdict(system)}
    # says how gradients are computed, not what the system is
    settings.get("backbone", {}).pop("remat", None)
    kind = getattr(getattr(system, "backbone", None), "kind", None)
    if system.takes == "tokens" and kind:
        settings["backbone"] = {"kind": kind, **settings["backbone"]}
    return settings


def build(settings: Mapping[str, Any]) -> System:
    """Make a system from its config.

    Args:
      settings: "name" (a key of `REGISTRY`) and the system's own fields.

    Raises:
      UserError: on an unknown name or field.
    """
    settings = dict(settings)
    name = settings.pop("name", None)
    if name not in REGISTRY:
        raise UserError(f"config.system.name is {name!r}; known: {', '.join(REGISTRY)}")
    module, cls = REGISTRY[name].split(":")
    system = getattr(importlib.import_module(module), cls)
    known = {field.name for field in dataclasses.fields(system)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise UserError(
            f"config.system of {name} has no field {', '.join(unknown)}; "
            f"known: {', '.join(sorted(known))}"
        )
    return system(**settings)
