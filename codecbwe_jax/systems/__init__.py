"""Ways to extend bandwidth, one file each, and the registry that finds them."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbwe_jax.errors import MistakesError, UserError
from codecbwe_jax.fields import faults, fields_of, tagged, tuples

if TYPE_CHECKING:
    from codecbwe_jax.systems.base import System
    from codecbwe_jax.systems.sampling import SamplingSettings


def _found() -> dict[str, str]:
    """Name -> "module:Class" of every file here with a class of its own name, `high_band.py` with
    `class HighBand(...)`. None is imported: commands that build no system begin without jax."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"^class (\w+)\(", text, re.MULTILINE):
            if name.lower() == path.stem.replace("_", ""):
                found[path.stem] = f"{__name__}.{path.stem}:{name}"
    return found


REGISTRY = _found()


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


def kind_of(name: str) -> type[System]:
    """The class of a key of `REGISTRY`."""
    module, cls = REGISTRY[name].split(":")
    return getattr(importlib.import_module(module), cls)


# The kind of `config.system`.
Settings = tagged("name", REGISTRY, lambda name: fields_of(kind_of(name)))


def settings_of(system: System) -> dict[str, Any]:
    """What `build` makes an equal system of: "name", and the system's own fields."""
    settings = {"name": name_of(system), **dataclasses.asdict(system)}
    settings |= {name: settings_of(part) for name, part in system.parts.items()}
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
      UserError: on an unknown name, or a field that is unknown or not what it may be.
    """
    # a ConfigDict's inner ones are no mappings
    values = tuples(settings.to_dict() if hasattr(settings, "to_dict") else settings)
    if wrong := faults(Settings, values, "config.system"):
        raise MistakesError(wrong)
    return kind_of(values.pop("name"))(**values)


def build_sampling(
    system: System, values: Mapping[str, Any], where: str = "config.sampling"
) -> SamplingSettings | None:
    """How a system samples, of what `config.sampling` holds; None for one that draws nothing.

    Args:
      system: that samples.
      values: fields of its `sampling_kind`; what is left out has its default.
      where: they come from, for messages.

    Raises:
      UserError: on a field that the system lacks, or that is not what it may be.
    """
    if system.sampling_kind is None:
        if values:
            raise UserError(f"{where}.{min(values)}: {name_of(system)} draws nothing")
        return None
    if wrong := faults(system.sampling_kind, values, where):
        raise MistakesError(wrong)
    return system.sampling_kind(**values)
