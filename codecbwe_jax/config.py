"""Loading, overriding and saving configs."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import itertools
import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from codecbwe_jax import atomic
from codecbwe_jax.errors import MistakesError, UserError

_PACKAGE = Path(__file__).resolve().parent
_EXECUTED = itertools.count()


def unknown(config: ConfigDict, field: str) -> Any:
    """No field has a default but those that the config holds."""
    raise KeyError(field)


def load_config(
    argument: str,
    overrides: Sequence[str] = (),
    default: Callable[[ConfigDict, str], Any] = unknown,
) -> ConfigDict:
    """Load a config file.

    Args:
      argument: "FILE.py" or "FILE.py:variant"; the file's `get_config(variant)` makes the config.
        A relative path that does not exist here is looked up in the project, so that
        `configs/ap_bwe.py:tiny` works from any directory. A file may import from those beside it:
        `from . import base`.
      overrides: "--config.a.b=value" arguments; values are Python literals, else text.
      default: (config, "a.b") -> default of a field that the config leaves out; a KeyError where
        there is no such field.

    Returns:
      A locked ConfigDict.

    Raises:
      UserError: if the file or the variant does not exist, or fields are unknown or of another
        type, all of which are named.
    """
    name, _, variant = argument.partition(":")
    get_config = recipe(name)
    with _errors_of(argument):
        config = get_config(variant).lock()
    wrong = []
    for override in overrides:
        try:
            _override(config, override, default)
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise MistakesError(wrong)
    return config


def recipe(name: str) -> Callable[[str], ConfigDict]:
    """The `get_config` of a config file, mostly a `recipes.Recipe`.

    Args:
      name: FILE.py, as in `load_config`.

    Raises:
      UserError: if there is no such file, or it cannot be executed.
    """
    path = next((p for p in _candidates(name) if p.is_file()), None)
    if path is None:
        raise UserError(f"{name}: no such config file")
    with _errors_of(name):
        return _executed(path).get_config


@contextlib.contextmanager
def _errors_of(where: str) -> Iterator[None]:
    """Whatever a config file raises, its user needs one line."""
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        raise UserError(f"{where}: {kind}{error}") from None


def _candidates(name: str) -> list[Path]:
    return [Path(name), _PACKAGE.parent / name, _PACKAGE / name]


def _executed(path: Path) -> types.ModuleType:
    """A config file in a package of its own, so that it finds those beside it; each time anew, as
    files are edited while a notebook runs."""
    package = types.ModuleType(f"configs_{next(_EXECUTED)}")
    package.__path__ = [str(path.absolute().parent)]
    sys.modules[package.__name__] = package
    name = f"{package.__name__}.{path.stem.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _override(config: ConfigDict, override: str, default: Callable[[ConfigDict, str], Any]) -> None:
    field, equals, text = override.removeprefix("--config.").partition("=")
    if not equals:
        raise UserError(f"{override}: expected --config.FIELD=VALUE")
    *parents, leaf = field.split(".")
    node = config
    for i, part in enumerate([*parents, leaf]):
        if isinstance(node, ConfigDict) and part not in node and part is leaf:
            with contextlib.suppress(KeyError), node.unlocked():
                node[leaf] = default(config, field)
        if not isinstance(node, ConfigDict) or part not in node:
            known = ", ".join(sorted(node)) if isinstance(node, ConfigDict) else "nothing"
            where = ".".join(["config", *parents[:i]])
            raise UserError(f"config.{field}: no such field; {where} has {known}")
        node = node[part] if i < len(parents) else node
    try:
        node[leaf] = _value(text, node[leaf])
    except (TypeError, ValueError):
        wanted = type(node[leaf]).__name__
        raise UserError(f"config.{field}={text}: expected a value of type {wanted}") from None


def _value(text: str, old: Any) -> Any:
    if isinstance(old, str):
        return text
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        raise ValueError(text) from None


def literal(text: str) -> Any:
    """A Python literal, or the text itself where it is none."""
    try:
        return _value(text, None)
    except ValueError:
        return text


def save_config(config: ConfigDict, folder: Path) -> None:
    """Write `folder/config.json`, whole or not at all.

    Raises:
      UserError: if the folder cannot be written.
    """
    write_json(folder / "config.json", json.loads(config.to_json_best_effort()))


def write_json(path: Path, value: object) -> None:
    """Write JSON as `write_text` does."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; bytes of a file's name that are no characters
    are escaped.

    Raises:
      UserError: if it cannot be written.
    """
    with atomic.whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
      UserError: if the file is missing, malformed or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of a number's length
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object is expected, not a {type(value).__name__}")
    return value


def flat(fields: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Fields of fields by their whole names, as "system.layers"."""
    found = {}
    for name, value in fields.items():
        inner = isinstance(value, dict) and value
        found |= flat(value, f"{above}{name}.") if inner else {above + name: value}
    return found
