"""Evaluation: find the plan of what is asked for, or make it, and replay it on the device."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clnet import core
from clnet.core import Node
from clnet.device import Device, KernelSource, device, profiling, tuning
from clnet.engine.capture import Captured
from clnet.engine.graph import Graph
from clnet.engine.plan import Plan
from clnet.engine.serial import serial_launches
from clnet.errors import BuildError
from clnet.modes import modes, observing

# Runs of a program after which launches of one work-item each are built as one kernel, which takes
# PoCL about 0.5 s for a small training step, and saves 100 us a run. Programs that are captured to
# be replayed do so at once.
SERIAL_AFTER, SERIAL_AFTER_CAPTURE = 500, 2
# Plans kept; the least recently used goes first. A plan of a training step holds about 100 KB.
MAX_PLANS = 1024


@dataclass(frozen=True)
class DeviceTarget:
    """What op records may know about a device when they write launches."""

    type: str
    local_memory: int
    max_work_group: int
    compute_units: int
    max_allocation: int
    tuning: Mapping[str, Mapping[str, int]]


def target(on: Device) -> DeviceTarget:
    """Return what op records may know about `on`."""
    caps = on.caps
    # CPUs are given few work-items that loop long; a device that cannot is treated as GPUs are.
    kind = "gpu" if on.type == "cpu" and not caps.long_loops else on.type
    return DeviceTarget(
        kind,
        caps.local_memory,
        caps.max_work_group,
        caps.compute_units,
        caps.max_allocation,
        tuning.parameters(on),
    )


class Program:
    """A plan made ready for one device: its kernels are built, their arguments declared."""

    def __init__(
        self,
        plan: Plan,
        on: Device,
        kernels: dict[KernelSource, Any],
        places: list[Any] | None = None,
    ) -> None:
        self.plan = plan
        self.device = on
        sources = [
            KernelSource(t.launch.file, t.launch.entry, t.launch.defines) for t in plan.tasks
        ]
        missing = {
            source: task.arguments.types
            for source, task in zip(sources, plan.tasks, strict=True)
            if source not in kernels
        }
        for kernel, (source, types) in zip(on.kernels(list(missing)), missing.items(), strict=True):
            # Declared types make setting all arguments ten times faster than one `set_arg`.
            kernel.raw.set_scalar_arg_dtypes(types)
            kernels[source] = kernel
        self._launches = [
            (
                task.arguments.values,
                task.arguments.buffers,
                task.arguments.moved,
                task.arguments.scalars,
                kernels[source],
                task.launch.global_size,
                task.launch.local_size,
            )
            for task, source in zip(plan.tasks, sources, strict=True)
        ]
        self._buffers = list(plan.memory.buffers.items())
        # For a graph with calls (see Graph.opened): the constants among the plan's nodes, and where
        # the others that a run looks at stand among the nodes that it is given.
        self._constants: list[Any] | None = None
        if places is not None:
            self._constants = [None if type(place) is int else place for place in places]
            used = {position for position, _ in plan.leaves}
            used.update(position for position, _, _, _ in plan.results)
            used.update(node for task in plan.tasks for _, node in task.arguments.scalars)
            self._given = [(p, places[p]) for p in sorted(used) if type(places[p]) is int]
        self._sources = sources
        self._serial: list[Any] | None = None
        self._until_serial = SERIAL_AFTER if len(sources) > 1 else -1

    def expect_replays(self) -> None:
        """Launch together soon what can be, because this program was made to be run often."""
        self._until_serial = min(self._until_serial, SERIAL_AFTER_CAPTURE)

    def _make_serial(self) -> None:
        """From now on launch neighbours of one work-item each together, where that can be built."""
        with contextlib.suppress(BuildError):
            self._serial = serial_launches(
                self.device, self.plan.tasks, self._sources, self._launches
            )

    def run(self, nodes: Sequence[Node]) -> None:
        """Enqueue the launches on the values of `nodes`, and give the results to them."""
        on = self.device
        if self._constants is not None:
            known = self._constants.copy()
            for position, place in self._given:
                known[position] = nodes[place]
            nodes = known
        buffers, offsets = self.execute(nodes)
        for position, slot, strides, offset in self.plan.results:
            node = nodes[position]
            node.buffer = buffers[slot]
            node.strides = strides
            node.offset = offsets[slot] + offset
            node.device = on

    def execute(self, nodes: Sequence[Any], shared: Container[int] = ()) -> tuple[Any, Any]:
        """Enqueue the launches on the values of `nodes`; return buffers and offsets by slot.

        `shared` are the slots of leaves that others hold too: what would overwrite them works on a
        copy. All memory is allocated before anything is enqueued.
        """
        with profiling.phase("enqueue"):
            return self._execute(nodes, shared)

    def _execute(self, nodes: Sequence[Any], shared: Container[int]) -> tuple[Any, Any]:
        plan, on = self.plan, self.device
        buffers: list[Any] = [None] * plan.slots
        offsets = [0] * plan.slots
        for position, slot in plan.leaves:
            node = nodes[position]
            buffers[slot] = node.buffer
            offsets[slot] = node.offset
        allocate = on.allocate
        for slot, nbytes in self._buffers:
            buffers[slot] = allocate(nbytes)
        for slot, leaf, nbytes, itemsize in plan.updates:
            if leaf in shared:
                buffers[leaf] = on.copy(buffers[leaf], offsets[leaf] * itemsize, nbytes)
                offsets[leaf] = 0
            buffers[slot], offsets[slot] = buffers[leaf], offsets[leaf]
        enqueue = on.enqueue
        profiler = profiling.active
        if profiler is None and self._until_serial >= 0:
            if not self._until_serial:
                self._make_serial()
            self._until_serial -= 1
        # A profile tells kernels apart.
        together = self._serial if profiler is None else None
        for number, launch in enumerate(self._launches if together is None else together):
            values, own, moved, scalars, kernel, global_size, local_size = launch
            for argument, slot in own:
                values[argument] = buffers[slot]
            for argument, slot, delta in moved:
                values[argument] = offsets[slot] + delta
            for argument, position in scalars:
                values[argument] = nodes[position].value
            kernel.raw.set_args(*values)
            event = enqueue(kernel, global_size, local_size)
            if profiler is not None:
                profiler.launched(event, plan.tasks[number])
            for argument, _ in own:
                values[argument] = None
        return buffers, offsets


class Engine:
    """The runtime of the graph: a bounded cache of programs, keyed by device and structure."""

    def __init__(self) -> None:
        self._programs: OrderedDict[Any, Program] = OrderedDict()
        # A kernel's arguments are set anew for every launch, so a source needs one kernel object.
        self._kernels: dict[Device, dict[KernelSource, Any]] = {}
        self.lock = threading.RLock()
        self.hits = self.misses = self.evictions = 0

    def default_device(self) -> Device:
        """The device on which a value without one is computed."""
        return device()

    def device(self, spec: Any) -> Device:
        """The device that a user means by `spec` (None: the default device)."""
        return device(spec)

    def target(self, on: Device) -> DeviceTarget:
        """What op records may know about a device."""
        return target(on)

    def stats(self) -> dict[str, int]:
        """Return the numbers of `engine_stats`."""
        with self.lock:
            seen = {id(on) for on in self._kernels}
            size = sum(_size(p.plan, seen) for p in self._programs.values())
            counts = {"hits": self.hits, "misses": self.misses, "evictions": self.evictions}
            return {**counts, "plans": len(self._programs), "limit": MAX_PLANS, "bytes": size}

    def capture(
        self,
        on: Device,
        results: Sequence[Node],
        sources: Mapping[Node, int],
        updates: Mapping[int, int],
    ) -> Captured:
        """Return a recorded computation as a program to be run on other values."""
        return Captured(self, on, results, sources, updates)

    def program(
        self, graph: Graph, on: Device, donated: Mapping[int, int] | None = None
    ) -> Program:
        """Return the program for a graph, from the cache or made now.

        `donated` are pairs (leaf, result), by position: values that the result may overwrite.
        """
        key = (on, graph.key, tuple(donated.items()) if donated else ())
        program = self._programs.get(key)
        if program is None:
            self.misses += 1
            full, places, reusable = graph.opened()
            plan = Plan(full, target(on), donated)
            program = Program(plan, on, self._kernels.setdefault(on, {}), places)
            if reusable:
                self._programs[key] = program
            if len(self._programs) > MAX_PLANS:
                self._programs.popitem(last=False)
                self.evictions += 1
        else:
            self.hits += 1
            self._programs.move_to_end(key)
        return program

    def evaluate(self, nodes: Sequence[Node]) -> None:
        """Enqueue what the nodes need, a plan per device; afterwards each has a buffer."""
        by_device: dict[Device | None, list[Node]] = {}
        for node in nodes:
            if node.buffer is None:
                if modes.recorder is not None:
                    modes.recorder.looks(node)
                by_device.setdefault(node.device, []).append(node)
        with self.lock:
            for on, roots in by_device.items():
                self._evaluate(roots, on or self.default_device())

    def _evaluate(self, roots: list[Node], on: Device) -> None:
        with profiling.phase("plan"):
            graph = Graph(roots)
            program = self.program(graph, on)
        program.run(graph.nodes)
        for node, inputs in zip(graph.nodes, graph.inputs, strict=True):
            node.group = None
            if inputs and node.buffer is not None:
                node.depth = 0
                if node.leaf or node.released or not node.needs_grad:
                    node.inputs, node.call = (), None


def _size(value: Any, seen: set[int]) -> int:
    """Return the bytes of an object of the engine and of what it holds."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        size += sum(_size(k, seen) + _size(v, seen) for k, v in value.items())
    elif isinstance(value, (list, tuple, set)):
        size += sum(_size(v, seen) for v in value)
    elif hasattr(value, "__dict__") and type(value).__module__.startswith("clnet."):
        size += _size(vars(value), seen)
    return size


engine = Engine()
core.runtime = engine


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Evaluate each op as it is recorded, so that a failure shows at its own line.

    >>> import clnet as cn
    >>> with cn.eager():
    ...     x = cn.ones(2) + 1
    """
    with observing(_evaluate_at_once):
        yield


def _evaluate_at_once(node: Node) -> None:
    engine.evaluate([node])


def engine_stats() -> dict[str, int]:
    """Return the state of the plan cache.

    'hits' and 'misses' of evaluations, 'plans' kept of at most 'limit', 'evictions' of the least
    recently used, and the 'bytes' of host memory that the plans occupy, about.

    >>> import clnet as cn
    >>> before = cn.engine_stats()
    >>> for _ in range(3):
    ...     cn.eval(cn.ones(3) + 2)
    >>> cn.engine_stats()["hits"] - before["hits"] >= 2
    True
    """
    return engine.stats()


def synchronize(on: Any = None) -> None:
    """Wait until a device (default: the default device) has finished all that was enqueued."""
    device(on).synchronize()
