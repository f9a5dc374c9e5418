"""Evaluation: find the plan of what is asked for, or make it, and replay it on the device."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clnet import core
from clnet.core import Node
from clnet.device import Device, KernelSource, device, profiling, tuning
from clnet.engine.capture import Captured
from clnet.engine.graph import Graph
from clnet.engine.plan import Plan
from clnet.engine.program import Held, Program
from clnet.modes import modes, observing

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
        with self.lock:
            for on, roots in self._pending(nodes).items():
                graph, program = self._found(roots, on)
                program.run(graph.nodes)

    def hold(self, nodes: Sequence[Node]) -> Held | None:
        """Evaluate, but leave the last launches to the caller, who holds the lock until then."""
        by_device = self._pending(nodes)
        if not by_device:
            return None
        on, roots = by_device.popitem()
        for others in by_device.values():
            self.evaluate(others)
        graph, program = self._found(roots, on)
        with profiling.phase("enqueue"):
            return Held(program, graph.nodes)

    def _pending(self, nodes: Sequence[Node]) -> dict[Device | None, list[Node]]:
        by_device: dict[Device | None, list[Node]] = {}
        for node in nodes:
            if node.buffer is None:
                if modes.recorder is not None:
                    modes.recorder.looks(node)
                by_device.setdefault(node.device, []).append(node)
        return by_device

    def _found(self, roots: list[Node], on: Device | None) -> tuple[Graph, Program]:
        with profiling.phase("plan"):
            graph = Graph.of_group(roots) or Graph(roots)
            return graph, self.program(graph, on or self.default_device())


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
