"""Whether a work folder's checkpoint can be gone on from with a config, and what has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from codecbwe_jax import objectives
from codecbwe_jax.config import flat
from codecbwe_jax.errors import UserError
from codecbwe_jax.systems.stored import computed

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
      UserError: if the checkpoint is of another model or of other data.
    """
    then, now = facts["config"], json.loads(config.to_json_best_effort())
    model = _listed(_model_of(then), _model_of(now))
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


def _model_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config says which parameters there are."""
    return {
        "system": computed(config["system"]),
        "objective": objectives.identity(config["objective"]),
    }


def _listed(
    before: Mapping[str, Any], after: Mapping[str, Any], only: tuple[str, ...] = ("",)
) -> str:
    # an empty group is what was not known yet when a config was stored
    first, second = ({k: v for k, v in flat(c).items() if v != {}} for c in (before, after))
    return ", ".join(
        f"config.{name} {first.get(name)} -> {second.get(name)}"
        for name in sorted({**first, **second})
        if name.startswith(only) and first.get(name) != second.get(name)
    )
