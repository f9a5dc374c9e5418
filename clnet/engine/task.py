"""A launch with its arguments, sorted by when they are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clnet.dtypes import DType
from clnet.engine.fuse import Source
from clnet.records import Launch

# OpenCL's scalar types as NumPy names them, which is how a kernel's arguments are declared.
NUMPY_TYPES: dict[str, Any] = {
    "char": np.int8,
    "uchar": np.uint8,
    "short": np.int16,
    "ushort": np.uint16,
    "int": np.int32,
    "uint": np.uint32,
    "long": np.int64,
    "ulong": np.uint64,
    "float": np.float32,
    "double": np.float64,
}


def arithmetic(dtype: DType) -> Any:
    """Return the NumPy type that holds the arithmetic type of a dtype."""
    if dtype.name in ("float16", "bfloat16"):
        return np.float32
    return np.uint8 if dtype.kind == "b" else dtype.storage.type


@dataclass
class Part:
    """The arguments of a flat elementwise launch for one tensor, before parts share a launch."""

    size: int
    args: Arguments


@dataclass
class Arguments:
    """Arguments in order; those that differ from run to run are placeholders in `values`.

    buffers  (argument, slot);
    offsets  (argument, slot, delta, itemsize): elements from where the slot's value begins; once
             memory is laid out, only those into leaves differ, and stand in `moved`;
    scalars  (argument, node): Python scalars.
    types    the NumPy type of each argument, None for buffers.
    """

    values: list[Any] = field(default_factory=list)
    types: list[Any] = field(default_factory=list)
    buffers: list[tuple[int, int]] = field(default_factory=list)
    offsets: list[tuple[int, int, int, int]] = field(default_factory=list)
    moved: list[tuple[int, int, int]] = field(default_factory=list)
    scalars: list[tuple[int, int]] = field(default_factory=list)

    def static(self, kind: Any, value: int | float) -> None:
        """Append an argument that every run has in common."""
        self.types.append(kind)
        self.values.append(value)

    def scalar(self, kind: Any, node: int) -> None:
        """Append the value of a scalar node."""
        self.scalars.append((len(self.values), node))
        self.static(kind, 0)

    def buffer(self, slot: int, delta: int, itemsize: int) -> None:
        """Append the buffer of a slot, and the offset of element `delta` of its value."""
        self.buffers.append((len(self.values), slot))
        self.static(None, 0)
        self.offsets.append((len(self.values), slot, delta, itemsize))
        self.static(np.int64, 0)

    def extend(self, other: Arguments) -> None:
        """Append the arguments of another."""
        start = len(self.values)
        self.values += other.values
        self.types += other.types
        self.buffers += [(start + a, slot) for a, slot in other.buffers]
        self.offsets += [(start + a, *rest) for a, *rest in other.offsets]  # type: ignore[misc]
        self.scalars += [(start + a, node) for a, node in other.scalars]


@dataclass
class Task:
    """A launch with its arguments.

    label   the names of the ops that it computes, of `nodes`.
    reads, writes   slots.
    flops, nbytes   what it does, by the ops' records, for profiles.
    parts, source, shared   of flat elementwise launches: the tensors served, the kernel, and the
            arguments that all of them share; several such tasks may become one.
    """

    label: str
    launch: Launch
    nodes: tuple[int, ...]
    arguments: Arguments = field(default_factory=Arguments)
    reads: set[int] = field(default_factory=set)
    writes: set[int] = field(default_factory=set)
    flops: float = 0.0
    nbytes: float = 0.0
    parts: list[Part] = field(default_factory=list)
    source: Source | None = None
    shared: Arguments = field(default_factory=Arguments)
