"""Whether a work folder's checkpoint can be gone on from with a config, and what has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from codecbwe_jax import systems
from codecbwe_jax.errors import UserError

# What decides which samples a batch holds, beside the recordings.
OF_THE_DATA = ("data.", "train.batch_size", "train.seed", "system.input_rate", "system.output_rate")


def changes(facts: Mapping[str, Any], config: ConfigDict, data_hash: str, workdir: Path) -> str:
    """What a config changes of a run, "config.FIELD BEFORE -> AFTER, ..."; "" if nothing.

    Args:
      facts: of the checkpoint.
      config: to go on with.
      data_hash: of the recordings and how pairs are made of them, now.
      workdir: for messages.

    Raises:
      UserError: if the checkpoint is of another model or of other data. Orbax would cut or pad
        tensors of another shape without a word, so the settings are compared.
    """
    then, now = facts["config"], json.loads(config.to_json_best_effort())
    model = _listed(
        {"system": _network(then["system"]), "objective.critics": then["objective"]["critics"]},
        {"system": _network(now["system"]), "objective.critics": now["objective"]["critics"]},
    )
    if model:
        raise UserError(f"{workdir} holds another model: {model}; start in a new work folder")
    if facts["data"] != data_hash:
        changed = _listed(then, now, OF_THE_DATA) or (
            f"other recordings (hash {facts['data']}, now {data_hash})"
        )
        raise UserError(
            f"{workdir}: its checkpoint's place in the data means nothing with {changed}; put it "
            "back, or start in a new work folder with --config.train.init_from"
        )
    return _listed(then, now)


def _listed(
    before: Mapping[str, Any], after: Mapping[str, Any], only: tuple[str, ...] = ("",)
) -> str:
    first, second = _flat(before), _flat(after)
    return ", ".join(
        f"config.{name} {first.get(name)} -> {second.get(name)}"
        for name in sorted({**first, **second})
        if name.startswith(only) and first.get(name) != second.get(name)
    )


def _flat(fields: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Fields of fields by their whole names."""
    flat = {}
    for name, value in fields.items():
        inner = isinstance(value, dict) and value
        flat |= _flat(value, f"{above}{name}.") if inner else {above + name: value}
    return flat


def _network(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A system's settings that say what it computes, not how, with the defaults of those that its
    run did not know yet: they change nothing."""
    defaults = systems.settings_of(systems.build({"name": settings["name"]}))
    return _computed(json.loads(json.dumps(defaults)) | dict(settings))


def _computed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: _computed(v) if isinstance(v, dict) else v
        for k, v in settings.items()
        if k not in ("compute_dtype", "remat")
    }
