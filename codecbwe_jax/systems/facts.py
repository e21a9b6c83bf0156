"""Figures of a system that follow from its settings alone, and a file of every system's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from codecbwe_jax.atomic import whole
from codecbwe_jax.systems import REGISTRY, build

if TYPE_CHECKING:
    from codecbwe_jax.systems.base import System

STORED = Path(__file__).with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Facts:
    """Figures of a system.

    Attributes:
      takes: "waveform" or "tokens".
      input_rate: in Hz.
      output_rate: in Hz.
      parameters: how many numbers it has, those of its parts too.
      macs_per_second: multiply-adds for a second of audio, as `multiply_adds` counts them.
      receptive_field_ms: on each side.
      delay_ms: what a stream waits for.
    """

    takes: str
    input_rate: int
    output_rate: int
    parameters: int
    macs_per_second: int
    receptive_field_ms: float
    delay_ms: float


def facts(system: System) -> Facts:
    """Count a system's parameters and operations without computing anything."""
    # imported late: who reads the stored figures needs no jax
    import jax

    from codecbwe_jax.systems.multiply_adds import multiply_adds

    shapes = system.shapes()
    second = system.input_shape(system.output_rate)
    return Facts(
        takes=system.takes,
        input_rate=system.input_rate,
        output_rate=system.output_rate,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(shapes)),
        macs_per_second=multiply_adds(system.extend, shapes, second, system.sampling()),
        receptive_field_ms=1000 * system.receptive_field / system.input_rate,
        delay_ms=1000 * system.delay / system.input_rate,
    )


def measured(names: Iterable[str]) -> dict[str, Facts]:
    """Figures of systems at their default settings, counted now."""
    return {name: facts(build({"name": name})) for name in names}


def stored() -> dict[str, Facts]:
    """Those of all systems as `codecbwe systems --measure` last wrote them, without importing
    jax."""
    figures = json.loads(STORED.read_text(encoding="utf-8"))
    return {name: Facts(**row) for name, row in figures.items()}


def store(figures: dict[str, Facts]) -> None:
    """Write what `stored` reads, over those of systems that there are."""
    known = {**stored(), **figures}
    rows = {name: dataclasses.asdict(known[name]) for name in REGISTRY if name in known}
    with whole(STORED) as path:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
