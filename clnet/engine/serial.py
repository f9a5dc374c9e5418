"""Launches of one work-item each become one launch: what tiny tensors cost is their launches.

A kernel that calls kernels is legal OpenCL C; with one work-item, the calls need no barrier between
them. Sizes and offsets are constants in it, so it is made only for plans that are run often.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from clnet.device import Device, KernelSource, SerialSource
from clnet.engine.task import NUMPY_TYPES, Task

_TYPES = {kind: name for name, kind in NUMPY_TYPES.items()}
# Parameters that every device takes: 1 KB, at 8 bytes each.
_MAX_PARAMETERS = 120


def _literal(kind: Any, value: Any) -> str:
    if kind is np.float32:
        return f"as_float({struct.unpack('<I', struct.pack('<f', value))[0]}u)"
    if kind is np.float64:
        return f"as_double({struct.unpack('<Q', struct.pack('<d', value))[0]}ul)"
    return f"({_TYPES[kind]}){int(value)}"


class _Run:
    """Neighbouring tasks of one work-item each, and the parameters of what calls them."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Task, KernelSource]] = []
        self.buffers: dict[int, int] = {}
        self.offsets: dict[int, int] = {}
        self.scalars: dict[tuple[int, Any], int] = {}

    def takes(self, task: Task) -> bool:
        """Whether one more task's parameters find room."""
        own = task.arguments
        more = len({slot for _, slot in own.buffers} - set(self.buffers))
        more += len({slot for _, slot, _ in own.moved} - set(self.offsets)) + len(own.scalars)
        return len(self.buffers) + len(self.offsets) + len(self.scalars) + more <= _MAX_PARAMETERS

    def add(self, task: Task, source: KernelSource) -> None:
        """Append a task."""
        self.tasks.append((task, source))
        own = task.arguments
        for _, slot in own.buffers:
            self.buffers.setdefault(slot, len(self.buffers))
        for _, slot, _ in own.moved:
            self.offsets.setdefault(slot, len(self.offsets))
        for argument, node in own.scalars:
            self.scalars.setdefault((node, own.types[argument]), len(self.scalars))

    def _call(self, task: Task, source: KernelSource) -> str:
        own = task.arguments
        given = [
            "" if kind is None else _literal(kind, value)
            for kind, value in zip(own.types, own.values, strict=True)
        ]
        for argument, slot in own.buffers:
            given[argument] = f"(__global void *)b{self.buffers[slot]}"
        for argument, slot, delta in own.moved:
            given[argument] = f"o{self.offsets[slot]} + {delta}"
        for argument, node in own.scalars:
            given[argument] = f"s{self.scalars[node, own.types[argument]]}"
        return f"  {source.name}({', '.join(given)});"

    def source(self) -> SerialSource:
        """Return the kernel."""
        params = [f"__global uchar *b{i}" for i in self.buffers.values()]
        params += [f"const long o{i}" for i in self.offsets.values()]
        params += [f"const {_TYPES[kind]} s{i}" for (_, kind), i in self.scalars.items()]
        parts = tuple(dict.fromkeys(source for _, source in self.tasks))
        body = "\n".join(self._call(task, source) for task, source in self.tasks)
        return SerialSource(parts, ", ".join(params), body)

    def launch(self, on: Device) -> tuple[Any, ...]:
        """Build the kernel; return the launch as `Program` keeps it."""
        (kernel,) = on.kernels([self.source()])
        kinds: list[Any] = [None] * len(self.buffers) + [np.int64] * len(self.offsets)
        kernel.raw.set_scalar_arg_dtypes([*kinds, *(kind for _, kind in self.scalars)])
        return (
            None,
            _chooser(list(self.buffers)),
            _chooser(list(self.offsets)),
            _chooser([node for node, _ in self.scalars]),
            kernel,
            (1,),
            (1,),
        )


def _chooser(keys: Sequence[int]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that gives the values of these keys, in order."""
    if len(keys) > 1:
        return operator.itemgetter(*keys)
    return lambda values: tuple([values[key] for key in keys])


def is_single(task: Task) -> bool:
    """Whether a task has one work-item."""
    return prod(task.launch.global_size) == 1


def shifted(task: Task, slots: int, nodes: int) -> Task:
    """Return a task whose slots and nodes have numbers that many higher."""
    own = task.arguments
    arguments = replace(
        own,
        buffers=[(a, slots + slot) for a, slot in own.buffers],
        moved=[(a, slots + slot, delta) for a, slot, delta in own.moved],
        scalars=[(a, nodes + node) for a, node in own.scalars],
    )
    return replace(task, arguments=arguments)


def serial_launches(
    on: Device,
    tasks: Sequence[Task],
    sources: Sequence[KernelSource],
    launches: Sequence[tuple[Any, ...]],
    seen: bool = False,
) -> list[tuple[Any, ...]] | None:
    """Return the launches of tasks with neighbours of one work-item each made into one.

    With `seen`: None unless all kernels that this takes were built before, which costs little.
    """
    # Runs of tasks, and launches that stay alone.
    result: list[_Run | tuple[Any, ...]] = []
    run = _Run()
    alone: list[tuple[Any, ...]] = []

    def close() -> None:
        nonlocal run, alone
        result.extend(alone if len(alone) < 2 else [run])
        run, alone = _Run(), []

    for task, source, launch in zip(tasks, sources, launches, strict=True):
        single = is_single(task)
        if not single or not run.takes(task):
            close()
        if single:
            run.add(task, source)
            alone.append(launch)
        else:
            result.append(launch)
    close()
    if seen and not all(on.seen(r.source()) for r in result if isinstance(r, _Run)):
        return None
    return [r.launch(on) if isinstance(r, _Run) else r for r in result]
