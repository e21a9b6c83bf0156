"""How work is mapped over devices: the one file that knows.

`pmap` is the default. The `shard_map` form is the same program over a mesh, with a state that has
no leading device axis. Which of the two is a word in the config (`config.train.mapping`).
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from codecbwe_jax.errors import UserError

AXIS = "devices"
Tree = Any
# (state, batch, key, frozen parameters, mean over devices) -> (state, metrics)
Step = Callable[[Tree, Tree, jax.Array, Tree, Callable[[Tree], Tree]], tuple[Tree, Tree]]
# (replicated tree, batch) -> rows
Rows = Callable[[Tree, Tree], Tree]
MappedStep = Callable[[Tree, Tree, jax.Array, Tree], tuple[Tree, Tree]]


def mean(tree: Tree) -> Tree:
    """Average over the devices of a mapped function."""
    return jax.lax.pmean(tree, AXIS)


class DeviceMapping(Protocol):
    """A way to run a step on every device of all processes.

    Attributes:
      count: devices of all processes; this one holds its own part of them.
    """

    count: int

    def map_step(self, step: Step) -> MappedStep:
        """Compile a step; the state is donated. The batch is divided, the rest replicated."""

    def map_rows(self, function: Rows) -> Rows:
        """Compile a function of a replicated tree and a divided batch; its rows come back whole, as
        NumPy arrays."""

    def place(self, state: Tree) -> Tree:
        """Copy a host state to every device."""

    def fetch(self, tree: Tree) -> Tree:
        """One device's copy of a replicated tree, as NumPy arrays."""

    def shapes(self, state: Tree) -> Tree:
        """Shapes of what `place` gives, of a tree of shapes."""

    def shapes_divided(self, batch: Tree) -> Tree:
        """Shapes of what `divide` gives, of a tree of shapes."""

    def divide(self, batch: Mapping[str, np.ndarray]) -> Tree:
        """Put this process's part of a batch on its devices, each with its own."""


class Pmap:
    """`jax.pmap` with a leading axis of this process's devices in state and batch."""

    def __init__(self, devices: list[jax.Device]) -> None:
        self.devices = devices
        self.count = len(devices)
        own = [device for device in devices if device.process_index == jax.process_index()]
        self.own_count = len(own)
        # What pmap itself gives its results: any other placement compiles the step twice.
        self.sharding = NamedSharding(Mesh(np.array(own), (AXIS,)), PartitionSpec(AXIS))

    def map_step(self, step: Step) -> MappedStep:
        return jax.pmap(
            functools.partial(step, mean=mean),
            axis_name=AXIS,
            in_axes=(0, 0, None, 0),
            devices=self.devices,
            donate_argnums=(0,),
        )

    def map_rows(self, function: Rows) -> Rows:
        mapped = jax.pmap(function, devices=self.devices)

        def joined(x: np.ndarray) -> np.ndarray:
            return x.reshape(-1, *x.shape[2:])

        return lambda tree, batch: jax.tree.map(joined, jax.device_get(mapped(tree, batch)))

    def place(self, state: Tree) -> Tree:
        def copies(x: np.ndarray) -> np.ndarray:
            return np.broadcast_to(x, (self.own_count, *np.shape(x)))

        return jax.device_put(jax.tree.map(copies, state), self.sharding)

    def shapes(self, state: Tree) -> Tree:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((self.own_count, *x.shape), x.dtype), state
        )

    def shapes_divided(self, batch: Tree) -> Tree:
        def part(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            rows = x.shape[0] // self.count
            return jax.ShapeDtypeStruct((self.own_count, rows, *x.shape[1:]), x.dtype)

        return jax.tree.map(part, batch)

    def fetch(self, tree: Tree) -> Tree:
        # indexing x[0] of a replicated array costs 100 times more
        return jax.device_get(jax.tree.map(lambda x: x.addressable_data(0)[0], tree))

    def divide(self, batch: Mapping[str, np.ndarray]) -> Tree:
        parts = {k: v.reshape(self.own_count, -1, *v.shape[1:]) for k, v in batch.items()}
        return jax.device_put(parts, self.sharding)


class ShardMap:
    """`jax.jit(jax.shard_map(...))` over a one-dimensional mesh."""

    def __init__(self, devices: list[jax.Device]) -> None:
        self.count = len(devices)
        self.mesh = Mesh(np.array(devices), (AXIS,))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.divided = NamedSharding(self.mesh, PartitionSpec(AXIS))

    def map_step(self, step: Step) -> MappedStep:
        everywhere, divided = PartitionSpec(), PartitionSpec(AXIS)
        # With check_vma left on, the gradient with respect to replicated parameters is already a
        # sum over devices, and its mean would come out `count` times too large.
        mapped = jax.shard_map(
            functools.partial(step, mean=mean),
            mesh=self.mesh,
            in_specs=(everywhere, divided, everywhere, everywhere),
            out_specs=(everywhere, everywhere),
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=(0,))

    def map_rows(self, function: Rows) -> Rows:
        divided = PartitionSpec(AXIS)
        mapped = jax.jit(
            jax.shard_map(
                function,
                mesh=self.mesh,
                in_specs=(PartitionSpec(), divided),
                out_specs=divided,
                check_vma=False,
            )
        )
        return lambda tree, batch: jax.device_get(mapped(tree, batch))

    def place(self, state: Tree) -> Tree:
        def everywhere(x: np.ndarray) -> jax.Array:
            return jax.make_array_from_process_local_data(self.replicated, np.asarray(x))

        return jax.tree.map(everywhere, state)

    def shapes(self, state: Tree) -> Tree:
        return state

    def shapes_divided(self, batch: Tree) -> Tree:
        return batch

    def fetch(self, tree: Tree) -> Tree:
        return jax.device_get(jax.tree.map(lambda x: x.addressable_data(0), tree))

    def divide(self, batch: Mapping[str, np.ndarray]) -> Tree:
        def parts(x: np.ndarray) -> jax.Array:
            return jax.make_array_from_process_local_data(self.divided, np.asarray(x))

        return jax.tree.map(parts, dict(batch))


def prefetch(
    batches: Iterator[Mapping[str, np.ndarray]],
    divide: Callable[[Mapping[str, np.ndarray]], Tree],
    depth: int = 2,
) -> Iterator[Tree]:
    """Put batches on the devices ahead of their use; copies run while the devices work.

    Args:
      batches: host batches.
      divide: `DeviceMapping.divide`.
      depth: batches on the devices at a time.
    """
    waiting: collections.deque[Tree] = collections.deque()
    for batch in batches:
        waiting.append(divide(batch))
        if len(waiting) == depth:
            yield waiting.popleft()
    yield from waiting


def described() -> str:
    """The devices of all processes in one line."""
    text = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return text + (f" in {jax.process_count()} processes" if jax.process_count() > 1 else "")


MAPPINGS = {"pmap": Pmap, "shard_map": ShardMap}


def build(name: str, batch_size: int, devices: list[jax.Device]) -> DeviceMapping:
    """The mapping that a config names.

    Args:
      name: "pmap" or "shard_map".
      batch_size: of all devices together.
      devices: those of all processes, or the local ones for work that no other process shares.

    Raises:
      UserError: on an unknown name, or a batch that the devices cannot share evenly.
    """
    if name not in MAPPINGS:
        raise UserError(f"config.train.mapping is {name!r}; known: {', '.join(MAPPINGS)}")
    if batch_size % len(devices):
        raise UserError(
            f"config.train.batch_size {batch_size} is no multiple of the {len(devices)} devices"
        )
    return MAPPINGS[name](devices)
