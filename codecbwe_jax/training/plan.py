"""What a run will cost, before an accelerator is paid for.

The step is compiled for as many virtual CPU devices as the run will have; what is counted in the
compiled program is exact for it, and near for the accelerator's own, which fuses differently.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from ml_collections import ConfigDict

from codecbwe_jax.data import codec_pairs, pipeline, recordings, synthetic
from codecbwe_jax.errors import UserError
from codecbwe_jax.objectives.turn import Objective
from codecbwe_jax.systems.multiply_adds import in_later_rounds
from codecbwe_jax.training import codec_input, parts
from codecbwe_jax.training.run import Run

T = TypeVar("T")
ELEMENT_BYTES = {"f64": 8, "s64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "pred": 1}


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published peaks of one accelerator.

    Attributes:
      flops: bfloat16 operations a second.
      memory_bandwidth: bytes a second.
      memory: bytes.
      link_bandwidth: bytes a second between chips, all links together.
    """

    flops: float
    memory_bandwidth: float
    memory: float
    link_bandwidth: float


# cloud.google.com/tpu/docs and NVIDIA's data sheets (SXM, without sparsity)
CHIPS = {
    "v4": Chip(275e12, 1228e9, 32e9, 300e9),
    "v5e": Chip(197e12, 819e9, 16e9, 200e9),
    "v5p": Chip(459e12, 2765e9, 95e9, 600e9),
    "v6e": Chip(918e12, 1640e9, 32e9, 448e9),
    "A100": Chip(312e12, 2039e9, 80e9, 600e9),
    "H100": Chip(989e12, 3350e9, 80e9, 900e9),
    "H200": Chip(989e12, 4800e9, 141e9, 900e9),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Counts of one step of a run, in which all its turns take place.

    Attributes:
      devices: of the run.
      parameters: of each group.
      flops, bytes_accessed: of one device in one step; bytes as if a batch were one piece and a
        network's loop ran once.
      arguments, temporary: bytes of memory on one device: state, batch and frozen parameters; what
        is alive in between.
      all_reduces: how many sums over devices there are.
      all_reduce_bytes: what they sum, in all.
      all_gather_bytes: what devices that share an optimiser give each other.
      seconds_of_audio: in a step of all devices.
    """

    devices: int
    parameters: dict[str, int]
    flops: float
    bytes_accessed: float
    arguments: int
    temporary: int
    all_reduces: int
    all_reduce_bytes: int
    all_gather_bytes: int
    seconds_of_audio: float

    @property
    def memory(self) -> int:
        """Bytes on one device."""
        return self.arguments + self.temporary

    def seconds_per_step(self, chip: Chip) -> float:
        """The least that a step takes: operations or bytes, whichever is slower, at the chip's
        peak, and a ring's exchanges between devices after them."""
        others = (self.devices - 1) / self.devices
        sent = others * (2 * self.all_reduce_bytes + self.all_gather_bytes)
        return max(self._work(chip).values()) + sent / chip.link_bandwidth

    def limit(self, chip: Chip) -> str:
        """Which of the two is slower, "operations" or "memory"."""
        work = self._work(chip)
        return max(work, key=lambda kind: work[kind])

    def fits(self, chip: Chip) -> bool:
        """Whether the memory does, with a tenth to spare."""
        return self.memory < 0.9 * chip.memory

    def _work(self, chip: Chip) -> dict[str, float]:
        """Seconds that each takes at the chip's peak."""
        return {
            "operations": self.flops / chip.flops,
            "memory": self.bytes_accessed / chip.memory_bandwidth,
        }


def plan(config: ConfigDict) -> Plan:
    """Compile a run's fullest step for all devices that JAX has, and count.

    Args:
      config: as of `train`; `data.path` may be empty. A system that takes tokens, or a codec's
        output, needs `data.codec`.

    Raises:
      UserError: as `train`, on a bad config.
    """
    run = Run.of(config)
    system, objective, mapping = run.system, run.objective, run.mapping
    source = codec_input.load(config, system)
    state = run.shapes()
    params = state["params"]
    online, of_codec = codec_input.in_step(config, source)
    frozen = jax.eval_shape(lambda: parts.params(run.parts) | of_codec)
    inputs = (
        mapping.state_shapes(state),
        mapping.shapes_divided(_batch(run, source)),
        jax.eval_shape(lambda: jax.random.key(0)),
        mapping.shapes(frozen),
    )
    number = fullest(objective, config.train.steps)
    step = run.steps(params, online)(number)
    program = step.lower(*inputs).compile()
    memory, text = _said(program.memory_analysis()), _said(program.as_text())
    count, size = exchanges(text, "all-reduce")
    # XLA counts a loop's body once: micro-batches are counted as the one batch that they are
    if config.train.micro_batches > 1:
        config = config.copy_and_resolve_references()
        config.train.micro_batches = 1
        step = dataclasses.replace(run, config=config).steps(params, online)(number)
        program = step.lower(*inputs).compile()
    costs = _said(program.cost_analysis())
    return Plan(
        devices=mapping.count,
        parameters={g: sum(x.size for x in jax.tree.leaves(t)) for g, t in params.items()},
        flops=float(costs["flops"]) + 2.0 * in_later_rounds(step, *inputs),
        bytes_accessed=float(costs["bytes accessed"]),
        arguments=memory.argument_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        all_reduces=count,
        all_reduce_bytes=size,
        all_gather_bytes=exchanges(text, "all-gather")[1],
        seconds_of_audio=config.train.batch_size * config.data.segment_samples / system.output_rate,
    )


def _said(figures: T | None) -> T:
    """What a compiler says of a program; UserError if it is one that says nothing."""
    if figures is None:
        raise UserError("this device's compiler does not say what a step costs: JAX_PLATFORMS=cpu")
    return figures


def fullest(objective: Objective, steps: int) -> int:
    """The last of a run's steps in which the most turns take place."""
    return max(range(steps), key=lambda n: (sum(turn.active(n) for turn in objective.turns), n))


def _batch(run: Run, source: codec_input.Source | None) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch, from samples made of a synthetic recording as a run makes them."""
    config = run.config
    with tempfile.TemporaryDirectory() as scratch:
        synthetic.write_corpus(Path(scratch), speakers=1, clips=1, seconds=1.0)
        found = recordings.find(scratch).recordings
        if source:
            chunks = codec_pairs.chunks(found, config.data.chunk_seconds)
            make = codec_pairs.MakeOnlinePair(chunks, source.inputs.settings)
        else:
            make = pipeline.MakePair(found, run.pair_settings())
        sample = make.random_map((0, 0), np.random.default_rng(0))
    del sample["broken"]
    size = config.train.batch_size
    batch = {k: jax.ShapeDtypeStruct((size, *np.shape(x)), x.dtype) for k, x in sample.items()}
    if source and config.data.input == "codec_cached":
        batch = dict(jax.eval_shape(source.inputs.prepare, source.codec.params, batch))
    return batch


def exchanges(program: str, kind: str) -> tuple[int, int]:
    """(how many exchanges between devices a compiled program has, bytes of their results).

    Args:
      program: as text.
      kind: "all-reduce" or "all-gather".
    """
    count, size = 0, 0
    for line in program.splitlines():
        found = re.search(rf"= (.*?) {kind}(?:-start)?\(", line)
        if found:
            count += 1
            for element, shape in re.findall(r"(\w+)\[([\d,]*)\]", found[1]):
                elements = int(np.prod([int(n) for n in shape.split(",") if n], initial=1))
                size += ELEMENT_BYTES.get(element, 4) * elements
    return count, size
