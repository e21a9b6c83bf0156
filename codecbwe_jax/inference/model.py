"""A model: a system with its parameters."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util
import numpy as np

from codecbwe_jax import systems
from codecbwe_jax.systems.base import Params, System
from codecbwe_jax.systems.sampling import SamplingSettings


@dataclasses.dataclass(frozen=True)
class Model:
    """A system ready to run.

    Attributes:
      name: for tables.
      system: settings and functions.
      params: nested dict of NumPy arrays.
      facts: where it comes from: "source", "step".
      sampling: how it samples; None: by its system's defaults, or it draws nothing.
    """

    name: str
    system: System
    params: Params
    facts: dict[str, Any]
    sampling: SamplingSettings | None = None

    def sampled(self, values: Mapping[str, Any], where: str = "--sampling") -> Model:
        """The model with other settings of how it samples.

        Args:
          values: fields of the system's `sampling_kind`.
          where: they come from, for messages.

        Raises:
          UserError: on a field that the system lacks, or that is not what it may be.
        """
        now = dataclasses.asdict(self.sampling) if self.sampling else {}
        sampling = systems.build_sampling(self.system, {**now, **values}, where)
        return dataclasses.replace(self, sampling=sampling)

    def to(self, rate: int) -> Model:
        """The model at another output rate in Hz.

        Raises:
          UserError: if its system has no such rate.
        """
        return dataclasses.replace(self, system=self.system.to(rate))


def sampled(models: Sequence[Model], values: Mapping[str, Any]) -> list[Model]:
    """Models with other settings of how they sample, those that draw nothing as they are.

    Raises:
      UserError: as `Model.sampled`, and if there are settings and no model draws.
    """
    if values and not any(model.system.sampling_kind for model in models):
        models[0].sampled(values)
    return [m.sampled(values) if m.system.sampling_kind else m for m in models]


def content_hash(system: System, params: Params) -> str:
    """Name of a model: a hash of its settings and parameters, whatever the compute type."""
    settings = {k: v for k, v in vars(system).items() if k != "compute_dtype"}
    return hash_of(settings, params)


def hash_of(settings: Mapping[str, Any], params: Params) -> str:
    """16 hexadecimal digits for settings and float32 parameters."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=vars).encode())
    for path, leaf in sorted(flax.traverse_util.flatten_dict(dict(params), sep="/").items()):
        digest.update(path.encode())
        digest.update(np.ascontiguousarray(leaf, np.float32).data)
    return digest.hexdigest()[:16]
