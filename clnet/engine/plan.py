"""From a graph's structure to launches and buffers, built once and replayed for its equals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clnet.core import Node
from clnet.dtypes import DType
from clnet.engine.fuse import Operand, Step, elementwise_groups, fused_source, op_expr
from clnet.engine.graph import INTERNAL, OUTPUT, Graph
from clnet.records import (
    In,
    Launch,
    Layout,
    Out,
    Scalar,
    Scratch,
    Spec,
    Value,
    row_major,
)

# OpenCL's scalar types as NumPy names them, which is how a kernel's arguments are declared.
_NUMPY = {
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
# Elements that a work-item of a CPU takes: enough to pay for its start, few enough to share out.
_CPU_CHUNK = 16384


@dataclass
class Place:
    """Where a value lies during a run: a slot, strides, and an offset within the slot's value."""

    slot: int
    strides: tuple[int, ...]
    offset: int = 0


@dataclass
class Task:
    """A launch with its arguments, sorted by when they are known.

    values   all arguments in order; those below are placeholders, filled in at every run:
    buffers  (argument, slot);
    offsets  (argument, slot, delta): offsets into leaves, whose place in their buffer may differ;
    scalars  (argument, node): Python scalars.
    types    the NumPy type of each argument, None for buffers.
    new      (slot, bytes): buffers to allocate before it runs.
    last     slots that nothing reads after it.
    """

    label: str
    launch: Launch
    nodes: tuple[int, ...]
    values: list[Any] = field(default_factory=list)
    types: list[Any] = field(default_factory=list)
    buffers: list[tuple[int, int]] = field(default_factory=list)
    offsets: list[tuple[int, int, int]] = field(default_factory=list)
    scalars: list[tuple[int, int]] = field(default_factory=list)
    new: list[tuple[int, int]] = field(default_factory=list)
    last: list[int] = field(default_factory=list)

    def static(self, kind: Any, value: int | float) -> None:
        """Append an argument that every run has in common."""
        self.types.append(kind)
        self.values.append(value)

    def scalar(self, kind: Any, node: int) -> None:
        """Append the value of a scalar node."""
        self.scalars.append((len(self.values), node))
        self.static(kind, 0)

    def buffer(self, slot: int, offset: int) -> None:
        """Append a buffer of the plan's own and an offset in it."""
        self.buffers.append((len(self.values), slot))
        self.static(None, 0)
        self.static(np.int64, offset)

    def leaf(self, slot: int, delta: int) -> None:
        """Append the buffer of a leaf and the offset in it, `delta` elements from its start."""
        self.buffers.append((len(self.values), slot))
        self.static(None, 0)
        self.offsets.append((len(self.values), slot, delta))
        self.static(np.int64, 0)


class Plan:
    """The launches that compute a graph, in order, and where each result lies afterwards.

    leaves     (node, slot) of values that exist already.
    tasks      the launches.
    results    (node, slot, strides, offset) of the values to keep.
    empty      (slot, bytes) of values without elements.
    slots      number of slots; `nbytes` of each that the plan allocates.
    """

    def __init__(self, graph: Graph, target: Any) -> None:
        self.leaves: list[tuple[int, int]] = []
        self.tasks: list[Task] = []
        self.results: list[tuple[int, int, tuple[int, ...], int]] = []
        self.nbytes: dict[int, int] = {}
        self.slots = 0
        self._graph = graph
        self._target = target
        self._places: dict[int, Place] = {}
        self._copies: dict[int, Place] = {}
        self.empty: list[tuple[int, int]] = []
        self._uniform = self._find_uniform()
        self._groups = elementwise_groups(graph, self._uniform)
        for position, node in enumerate(graph.nodes):
            self._emit(position, node)
        self._finish()
        del self._graph, self._target, self._places, self._copies, self._groups, self._uniform

    # --- values ---------------------------------------------------------------------------------

    def _find_uniform(self) -> list[int | None]:
        """Return, for each node that is one Python scalar everywhere, that scalar's position."""
        found: list[int | None] = []
        for position, node in enumerate(self._graph.nodes):
            inputs = self._graph.inputs[position]
            if not inputs:
                found.append(position if node.buffer is None else None)
            else:
                view = node.op is not None and node.op.view is not None
                found.append(found[inputs[0]] if view else None)
        return found

    def _slot(self, spec: Spec, task: Task | None) -> int:
        slot = self.slots
        self.slots += 1
        self.nbytes[slot] = max(spec.size * spec.dtype.itemsize, 1)
        if task is None:
            self.empty.append((slot, self.nbytes[slot]))
        else:
            task.new.append((slot, self.nbytes[slot]))
        return slot

    def _place(self, position: int) -> Place:
        """Return where a node's value lies, writing a Python scalar to a buffer if it must."""
        if position not in self._places:
            scalar = self._uniform[position]
            assert scalar is not None
            if scalar not in self._places:
                node = self._graph.nodes[scalar]
                spec = Spec((), node.spec.dtype)
                self._places[scalar] = self._fused("fill", spec, (scalar,), [(scalar, None)], [])
            if position != scalar:
                shape = self._graph.nodes[position].spec.shape
                self._places[position] = Place(self._places[scalar].slot, (0,) * len(shape))
        return self._places[position]

    def _layout(self, position: int) -> Layout:
        spec = self._graph.nodes[position].spec
        return Layout(spec.shape, self._place(position).strides, spec.dtype)

    def _contiguous(self, position: int) -> Place:
        """Return where a node's value lies without gaps, copying it if it must be."""
        layout = self._layout(position)
        if layout.contiguous:
            return self._places[position]
        if position not in self._copies:
            spec = self._graph.nodes[position].spec
            copy = self._fused("copy", spec, (position,), [(position, layout)], [])
            self._copies[position] = copy
        return self._copies[position]

    # --- launches -------------------------------------------------------------------------------

    def _emit(self, position: int, node: Node) -> None:
        op = node.op
        inputs = self._graph.inputs[position]
        if node.buffer is not None:
            assert node.strides is not None
            self.leaves.append((position, self.slots))
            self._places[position] = Place(self.slots, node.strides)
            self.slots += 1
        elif self._uniform[position] is not None:
            if self._graph.flags[position] == OUTPUT:
                scalar = self._uniform[position]
                assert scalar is not None
                place = self._fused("fill", node.spec, (position,), [(scalar, None)], [])
                self._places[position] = place
        elif op is not None and op.view is not None:
            viewed = op.view(self._layout(inputs[0]), **node.attrs)
            base = self._places[inputs[0]]
            if viewed is None:
                base = self._contiguous(inputs[0])
                spec = self._graph.nodes[inputs[0]].spec
                viewed = op.view(Layout(spec.shape, base.strides, spec.dtype), **node.attrs)
                assert viewed is not None, f"{op.name} is not a view of a contiguous value"
            self._places[position] = Place(base.slot, viewed[0], base.offset + viewed[1])
        elif op is not None and op.kernel is not None:
            self._kernel_op(position, node)
        elif position in self._groups:
            self._group(position)

    def _group(self, root: int) -> None:
        members = self._groups[root]
        graph = self._graph
        operands: dict[int, Layout | None] = {}
        for member in members:
            for i in graph.inputs[member]:
                if i not in members:
                    operands.setdefault(
                        i, None if self._uniform[i] is not None else self._layout(i)
                    )
        steps = []
        for member in members:
            node = graph.nodes[member]
            assert node.op is not None and node.op.expr is not None
            reads = [(i, graph.nodes[i].spec.dtype) for i in graph.inputs[member]]
            expr = op_expr(node.op.expr, reads[-1][1])
            steps.append((member, node.spec.dtype, expr, reads))
        label = " ".join(n.op.name for n in map(graph.nodes.__getitem__, members) if n.op)
        # Names count from 0 in each kernel, so that equal chains have equal source.
        names = {i: f"v{k}" for k, i in enumerate([*operands, *members])}
        written = [
            Step(names[m], dtype, expr, tuple((names[n], d) for n, d in reads))
            for m, dtype, expr, reads in steps
        ]
        spec = graph.nodes[root].spec
        place = self._fused(label, spec, tuple(members), list(operands.items()), written)
        self._places[root] = place

    def _fused(
        self,
        label: str,
        spec: Spec,
        nodes: tuple[int, ...],
        operands: list[tuple[int, Layout | None]],
        steps: list[Step],
    ) -> Place:
        """Add the launch of a fused elementwise kernel; return where its result lies."""
        named = [
            Operand(f"v{k}", self._graph.nodes[i].spec.dtype, layout)
            for k, (i, layout) in enumerate(operands)
        ]
        cpu = self._target.type == "cpu"
        local = 1 if cpu else min(256, self._target.max_work_group)
        source = fused_source(spec, named, steps, local)
        units = self._target.compute_units
        chunk = min(_CPU_CHUNK, max(256, -(-spec.size // units))) if cpu else 1
        items = -(-spec.size // chunk)
        launch = Launch(
            "elementwise.cl",
            "elementwise",
            source.defines,
            (),
            (-(-items // local) * local,),
            (local,),
        )
        task = Task(label, launch, nodes)
        slot = self._slot(spec, task if spec.size else None)
        if not spec.size:
            return Place(slot, row_major(spec.shape))
        index = _NUMPY[source.index]
        task.static(index, spec.size)
        task.static(index, chunk)
        task.buffer(slot, 0)
        strides = iter(source.strides)
        for operand, (position, layout) in zip(named, operands, strict=True):
            if layout is None:
                scalar = self._uniform[position]
                assert scalar is not None
                task.scalar(_arithmetic(operand.dtype), scalar)
                continue
            self._input(task, self._places[position])
            for stride in next(strides):
                task.static(index, stride)
        for size in source.sizes:
            task.static(index, size)
        self.tasks.append(task)
        return Place(slot, row_major(spec.shape))

    def _input(self, task: Task, place: Place) -> None:
        if place.slot in self.nbytes:
            task.buffer(place.slot, place.offset)
        else:
            task.leaf(place.slot, place.offset)

    def _kernel_op(self, position: int, node: Node) -> None:
        op, graph = node.op, self._graph
        assert op is not None and op.kernel is not None
        inputs = graph.inputs[position]
        places: list[Place | None] = []
        layouts = []
        for k, i in enumerate(inputs):
            spec = graph.nodes[i].spec
            strided = op.strided if isinstance(op.strided, bool) else k in op.strided
            uniform = strided and self._uniform[i] is not None and i not in self._places
            if graph.nodes[i].value is not None or uniform:
                # Written to a buffer only if a launch reads it.
                places.append(None)
                layouts.append(Layout(spec.shape, (0,) * spec.ndim, spec.dtype))
                continue
            self._place(i)
            place = self._places[i] if strided else self._contiguous(i)
            places.append(place)
            layouts.append(Layout(spec.shape, place.strides, spec.dtype))
        launches = op.kernel(self._target, node.spec, tuple(layouts), **node.attrs)
        if not launches or node.spec.size == 0:
            self._places[position] = Place(self._slot(node.spec, None), row_major(node.spec.shape))
            return
        slot = -1
        scratch: dict[str, int] = {}
        for launch in launches:
            task = Task(op.name, launch, (position,))
            if slot < 0:
                slot = self._slot(node.spec, task)
            for arg in launch.args:
                if isinstance(arg, Out):
                    task.buffer(slot, arg.offset)
                elif isinstance(arg, Scalar):
                    task.static(_NUMPY[arg.ctype], arg.value)
                elif isinstance(arg, Value):
                    task.scalar(_NUMPY[arg.ctype], inputs[arg.operand])
                elif isinstance(arg, Scratch):
                    if arg.name not in scratch:
                        scratch[arg.name] = self.slots
                        self.nbytes[self.slots] = arg.nbytes
                        task.new.append((self.slots, arg.nbytes))
                        self.slots += 1
                    task.buffer(scratch[arg.name], 0)
                else:
                    assert isinstance(arg, In)
                    given = places[arg.operand]
                    self._input(task, given or self._place(inputs[arg.operand]))
            self.tasks.append(task)
        self._places[position] = Place(slot, row_major(node.spec.shape))

    # --- lifetimes ------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Decide what is kept, and after which launch each temporary buffer is free again."""
        graph = self._graph
        kept: set[int] = set()
        for position, node in enumerate(graph.nodes):
            if node.buffer is None and graph.flags[position] != INTERNAL:
                place = self._places.get(position)
                if place is not None:
                    self.results.append((position, place.slot, place.strides, place.offset))
                    kept.add(place.slot)
        last: dict[int, Task] = {}
        for task in self.tasks:
            for _, slot in task.buffers:
                last[slot] = task
        for slot, task in last.items():
            if slot in self.nbytes and slot not in kept:
                task.last.append(slot)

    @property
    def peak(self) -> int:
        """Bytes that the plan's own buffers, results included, occupy at once, at most."""
        live = peak = sum(nbytes for _, nbytes in self.empty)
        for task in self.tasks:
            live += sum(nbytes for _, nbytes in task.new)
            peak = max(peak, live)
            live -= sum(self.nbytes[slot] for slot in task.last)
        return peak


def _arithmetic(dtype: DType) -> Any:
    """Return the NumPy type that holds the arithmetic type of a dtype."""
    if dtype.name in ("float16", "bfloat16"):
        return np.float32
    return np.uint8 if dtype.kind == "b" else dtype.storage.type
