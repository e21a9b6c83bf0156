"""Loading, overriding and saving configs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from codecbwe_jax.errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def load_config(argument: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Load a config file.

    Args:
      argument: "FILE.py" or "FILE.py:variant". A relative path that does not exist here is looked
        up in the project, so that `configs/ap_bwe.py:tiny` works from any directory.
      overrides: "--config.a.b=value" arguments.

    Returns:
      A locked ConfigDict.

    Raises:
      UserError: if the file or the variant does not exist, or a field is unknown or of another
        type.
    """
    name, _, variant = argument.partition(":")
    path = next((p for p in _candidates(name) if p.is_file()), None)
    if path is None:
        raise UserError(f"{name}: no such config file")
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    location = f"{path}:{variant}" if variant else str(path)
    try:
        values(["codecbwe", f"--config={location}", *overrides])
        return values.config.lock()
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{argument}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The part of a config error that a user can act on, in one line."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if "Traceback" in text:  # an exception inside the config file
        text = text.strip().splitlines()[-1].partition(": ")[2]
    if isinstance(error, (AttributeError, KeyError)):
        text = f"no such field: {text}"
    return " ".join(text.split())


def _candidates(name: str) -> list[Path]:
    return [Path(name), _PACKAGE.parent / name, _PACKAGE / name]


def save_config(config: ConfigDict, folder: Path) -> None:
    """Write `folder/config.json`, whole or not at all.

    Raises:
      UserError: if the folder cannot be written.
    """
    write_json(folder / "config.json", json.loads(config.to_json_best_effort()))


def write_json(path: Path, value: object) -> None:
    """Write JSON under a temporary name and rename it.

    Raises:
      UserError: if the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
      UserError: if the file is missing or malformed.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
