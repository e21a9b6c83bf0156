"""Systems from a stored `config.json`, which may be damaged or of anybody's making."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import jax

from codecbwe_jax.config import flat
from codecbwe_jax.errors import UserError, some
from codecbwe_jax.systems import REGISTRY, build, settings_of
from codecbwe_jax.systems.base import Params, System

# Beyond these no network is built: the next ones took hours or all memory to find that out.
LARGEST = 2**20  # any whole number: sizes, rates in Hz, samples
MOST_LAYERS = 512
MOST_ITEMS = 64  # of a list


def build_stored(settings: Any, where: object) -> tuple[System, Params]:
    """A system and the shapes of its parameters.

    Args:
      settings: what stands in the file under "system".
      where: the file, for messages.

    Raises:
      UserError: that names the file and the field, if a value is of another type than the field's
        default, not finite or too large, or no network can be made of all of them.
    """
    if not isinstance(settings, Mapping):
        raise UserError(f"{where}: system is {_shown(settings)}; an object is expected")
    name = settings.get("name")
    if not isinstance(name, str) or name not in REGISTRY:
        raise UserError(f"{where}: system.name is {_shown(name)}; known: {', '.join(REGISTRY)}")
    _check(settings, settings_of(build({"name": name})), f"{where}: system")
    try:
        system = build({k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})
        return system, jax.eval_shape(system.init, jax.random.key(0))
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
        f"{name} is {_shown(now.get(name))}, {_shown(then.get(name))} there"
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name)
    ]
    if changed:
        raise UserError(f"{where}: not the config of the weights beside it: {some(changed, 3)}")


def computed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A system's settings that say what it computes, not how, with the defaults of those that were
    not known yet when they were stored: they change nothing."""
    defaults = settings_of(build({"name": settings["name"]}))
    return _what(json.loads(json.dumps(defaults)) | dict(settings))


def _what(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: _what(v) if isinstance(v, dict) else v
        for k, v in settings.items()
        if k not in ("compute_dtype", "remat")
    }


def _check(value: Any, default: Any, where: str) -> None:
    """Raise UserError if a value cannot stand where a default does."""
    kind = next((kind for kind in _KINDS if isinstance(default, kind[0])), None)
    if kind and value is not None and not isinstance(value, kind[0]):
        raise UserError(f"{where} is {_shown(value)}; {kind[1]} is expected")
    if kind and kind[1] == "a number" and isinstance(value, bool):
        raise UserError(f"{where} is {_shown(value)}; a number is expected")
    if isinstance(value, Mapping):
        defaults = default if isinstance(default, Mapping) else {}
        for name, part in value.items():
            _check(part, defaults.get(name), f"{where}.{name}")
    elif isinstance(value, list | tuple):
        if len(value) > MOST_ITEMS:
            raise UserError(f"{where} has {len(value)} items; at most {MOST_ITEMS} are expected")
        for part in value:
            _check(part, default[0] if default else None, where)
    elif isinstance(value, int | float):
        most = MOST_LAYERS if where.endswith("layers") else LARGEST
        if not math.isfinite(value) or abs(value) > most:
            raise UserError(f"{where} is {_shown(value)}; at most {most} is expected")


# bool before numbers, as it is one to Python
_KINDS: tuple[tuple[Any, str], ...] = (
    (Mapping, "an object"),
    (str, "text"),
    (bool, "true or false"),
    (int | float, "a number"),
    (list | tuple, "a list"),
)


def _shown(value: Any) -> str:
    return (str(value) if isinstance(value, int) else repr(value))[:60]
