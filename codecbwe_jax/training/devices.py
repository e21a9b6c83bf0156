"""How work is mapped over devices: the one file that knows.

`pmap` is the default. The `shard_map` form is the same program over a mesh, with a state that has
no leading device axis. Which of the two is a word in the config (`config.train.mapping`).
"""

from __future__ import annotations

import abc
import collections
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from codecbwe_jax.errors import UserError
from codecbwe_jax.training.shared_optimizer import part_size, parts, shared, whole

AXIS = "devices"
# the part of a training state that devices may share
SHARED = "optimizers"
Tree = Any
# (replicated tree, batch) -> rows
Rows = Callable[[Tree, Tree], Tree]
# (state, batch, key, frozen parameters) -> (state, metrics), which can be lowered too
MappedStep = jax.stages.Wrapped


class Step(Protocol):
    """What is mapped: (state, batch, key, frozen parameters, mean over devices) -> (state,
    metrics)."""

    def __call__(
        self,
        state: Tree,
        batch: Tree,
        key: jax.Array,
        frozen: Tree,
        mean: Callable[[Tree], Tree],
    ) -> tuple[Tree, Tree]: ...


def mean(tree: Tree) -> Tree:
    """Average over the devices of a mapped function."""
    return jax.lax.pmean(tree, AXIS)


class DeviceMapping(abc.ABC):
    """A way to run a step on every device of all processes.

    A training state is kept in copies, but for `state["optimizers"]` if the devices share it: each
    then has its part.

    Args:
      count: devices of all processes.
      own: places of this process's devices among them.
      sharing: whether the optimisers' state is shared.
    """

    def __init__(self, count: int, own: list[int], sharing: bool) -> None:
        self.count, self.own, self.sharing = count, own, sharing

    @abc.abstractmethod
    def map_step(self, step: Step) -> MappedStep:
        """Compile a step; the state is donated. The batch is divided, the rest replicated."""

    @abc.abstractmethod
    def map_rows(self, function: Rows) -> Rows:
        """Compile a function of a replicated tree and a divided batch; its rows come back whole, as
        NumPy arrays."""

    @abc.abstractmethod
    def place(self, state: Tree) -> Tree:
        """Copy a host state to every device."""

    @abc.abstractmethod
    def fetch(self, tree: Tree) -> Tree:
        """One device's copy of a replicated tree, as NumPy arrays."""

    @abc.abstractmethod
    def divide(self, batch: Mapping[str, np.ndarray]) -> Tree:
        """Put this process's part of a batch on its devices, each with its own."""

    @abc.abstractmethod
    def shapes(self, state: Tree) -> Tree:
        """Shapes of what `place` gives, of a tree of shapes."""

    @abc.abstractmethod
    def shapes_divided(self, batch: Tree) -> Tree:
        """Shapes of what `divide` gives, of a tree of shapes."""

    @abc.abstractmethod
    def _place_parts(self, rows: np.ndarray) -> jax.Array:
        """Give each device of this process its row."""

    def share(self, transformation: optax.GradientTransformation) -> optax.GradientTransformation:
        """Make of an optimiser one whose state the devices share, if they do."""
        return shared(transformation, AXIS, self.count) if self.sharing else transformation

    def place_state(self, state: Tree) -> Tree:
        """Put a training state on the devices: copies, and parts of what they share."""

        def part(x: np.ndarray) -> jax.Array:
            return self._place_parts(parts(np.asarray(x), self.count)[self.own])

        return self._apply(state, self.place, part)

    def fetch_state(self, state: Tree, shapes: Tree) -> Tree:
        """A training state, of the shapes that it had, as NumPy arrays. All processes call it."""
        if not self.sharing:
            return self.fetch(state)
        copies = {k: v for k, v in state.items() if k != SHARED}

        def gathered(x: jax.Array, shape: jax.ShapeDtypeStruct) -> np.ndarray:
            if not shape.ndim:
                return self.fetch(x)
            return whole(multihost_utils.process_allgather(x, tiled=True), shape.shape)

        return self.fetch(copies) | {SHARED: jax.tree.map(gathered, state[SHARED], shapes[SHARED])}

    def state_shapes(self, state: Tree) -> Tree:
        """Shapes of what `place_state` gives, of a tree of shapes."""

        def part(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            rows = (len(self.own), part_size(x.size, self.count))
            return jax.ShapeDtypeStruct(rows, x.dtype)

        return self._apply(state, self.shapes, part)

    def _apply(self, state: Tree, copy: Callable[[Tree], Tree], part: Callable[..., Tree]) -> Tree:
        if not self.sharing:
            return copy(state)
        copies = copy({k: v for k, v in state.items() if k != SHARED})
        divided = jax.tree.map(lambda x: part(x) if np.ndim(x) else copy(x), state[SHARED])
        return copies | {SHARED: divided}


class Pmap(DeviceMapping):
    """`jax.pmap` with a leading axis of this process's devices in state and batch."""

    def __init__(self, devices: list[jax.Device], sharing: bool = False) -> None:
        super().__init__(len(devices), _own(devices), sharing)
        self.devices = devices
        own = [devices[i] for i in self.own]
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

    def _place_parts(self, rows: np.ndarray) -> jax.Array:
        return jax.device_put(rows, self.sharding)

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


class ShardMap(DeviceMapping):
    """`jax.jit(jax.shard_map(...))` over a one-dimensional mesh."""

    def __init__(self, devices: list[jax.Device], sharing: bool = False) -> None:
        super().__init__(len(devices), _own(devices), sharing)
        self.mesh = Mesh(np.array(devices), (AXIS,))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.divided = NamedSharding(self.mesh, PartitionSpec(AXIS))

    def map_step(self, step: Step) -> MappedStep:
        everywhere, divided = PartitionSpec(), PartitionSpec(AXIS)

        # With check_vma left on, the gradient with respect to replicated parameters is already a
        # sum over devices, and its mean would come out `count` times too large.
        def mapped(state: Tree, batch: Tree, key: jax.Array, frozen: Tree) -> tuple[Tree, Tree]:
            kept = self._apply(
                state,
                lambda tree: jax.tree.map(lambda _: everywhere, tree),
                lambda _: divided,
            )
            run = jax.shard_map(
                functools.partial(step, mean=mean),
                mesh=self.mesh,
                in_specs=(kept, divided, everywhere, everywhere),
                out_specs=(kept, everywhere),
                check_vma=False,
            )
            return run(state, batch, key, frozen)

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

    def _place_parts(self, rows: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(self.divided, rows)

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


def _own(devices: list[jax.Device]) -> list[int]:
    """Places of this process's devices."""
    return [i for i, d in enumerate(devices) if d.process_index == jax.process_index()]


def described() -> str:
    """The devices of all processes in one line."""
    text = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return text + (f" in {jax.process_count()} processes" if jax.process_count() > 1 else "")


MAPPINGS: dict[str, type[Pmap] | type[ShardMap]] = {"pmap": Pmap, "shard_map": ShardMap}


def build(
    name: str, batch_size: int, devices: list[jax.Device], share_optimizer: bool = False
) -> DeviceMapping:
    """The mapping that a config names.

    Args:
      name: "pmap" or "shard_map".
      batch_size: of all devices together.
      devices: those of all processes, or the local ones for work that no other process shares.
      share_optimizer: each device keeps its part of the optimisers' state alone.

    Raises:
      UserError: on an unknown name, or a batch that the devices cannot share evenly.
    """
    if name not in MAPPINGS:
        raise UserError(f"config.train.mapping is {name!r}; known: {', '.join(MAPPINGS)}")
    if batch_size % len(devices):
        raise UserError(
            f"config.train.batch_size {batch_size} is no multiple of the {len(devices)} devices"
        )
    return MAPPINGS[name](devices, share_optimizer)
