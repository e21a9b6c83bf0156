"""Systems from a stored `config.json`, which may be damaged or of anybody's making."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from codecbwe_jax.config import flat
from codecbwe_jax.errors import UserError, some
from codecbwe_jax.fields import faults, shown
from codecbwe_jax.systems import Settings, build, settings_of
from codecbwe_jax.systems.base import Params, System


def build_stored(settings: Any, where: object) -> tuple[System, Params]:
    """A system and the shapes of its parameters.

    Args:
      settings: what stands in the file under "system".
      where: the file, for messages.

    Raises:
      UserError: that names the file and the fields, if a value is not what its field may be, or no
        network can be made of all of them.
    """
    settings = _current(settings)
    if wrong := faults(Settings, settings, "system"):
        raise UserError(f"{where}: {some(wrong, 3, '; ')}")
    try:
        system = build(settings)
        return system, system.shapes()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever a network says of sizes that do not fit
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{where}: no network can be made of the settings in system ({first[:200]})"
        ) from None


def check_same(settings: Mapping[str, Any], written: Mapping[str, Any], where: object) -> None:
    """Raise UserError if settings that decide what a system computes are not those that its weights
    were written with.

    Args:
      settings: of a config.json.
      written: those stored with the weights.
      where: the file, for messages.
    """
    now, then = (flat({"system": computed(part)}) for part in (settings, written))
    changed = [
        f"{name} is {shown(now.get(name))}, {shown(then.get(name))} there"
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name)
    ]
    if changed:
        raise UserError(f"{where}: not the config of the weights beside it: {some(changed, 3)}")


def computed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A system's settings that say what it computes, not how, with the defaults of those that were
    not known yet when they were stored: they change nothing."""
    defaults = settings_of(build({"name": settings["name"]}))
    return _what(json.loads(json.dumps(defaults)) | _current(settings))


def _current(settings: Any) -> Any:
    """Settings without what they once held: the number of conditions of a backbone's norms, which
    was always 0."""
    if not isinstance(settings, Mapping) or not isinstance(settings.get("backbone"), Mapping):
        return settings
    kept = {k: v for k, v in settings["backbone"].items() if (k, v) != ("conditions", 0)}
    return {**settings, "backbone": kept}


def _what(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: _what(v) if isinstance(v, dict) else v
        for k, v in settings.items()
        if k not in ("compute_dtype", "remat")
    }
