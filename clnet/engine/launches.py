"""Values and launches of a plan under construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clnet.dtypes import DType
from clnet.engine.batch import arguments_of, tensors_served
from clnet.engine.fuse import Operand, Step, fused_source
from clnet.engine.graph import Graph
from clnet.engine.task import NUMPY_TYPES, Arguments, Part, Task, arithmetic
from clnet.records import (
    In,
    Launch,
    Layout,
    Out,
    Prepared,
    Scalar,
    Scratch,
    Spec,
    Value,
    row_major,
)

# Elements that a work-item of a CPU takes: enough to pay for its start, few enough to share out.
_CPU_CHUNK = 16384
# Elements, in all tensors of a launch, that one work-item of a CPU takes: waking a second thread
# costs 10 us, and launches of one work-item may be joined.
_CPU_ALONE = 4096
# Bytes of results from which on CPUs write past their caches: 0.85 of the time at 64 MB.
_STREAMED = 16 << 20


@dataclass
class Place:
    """Where a value lies during a run: a slot, strides, and an offset within the slot's value."""

    slot: int
    strides: tuple[int, ...]
    offset: int = 0


class Launches:
    """Where the values of a graph lie, and the launches that were added for them so far."""

    def __init__(self, graph: Graph, target: Any) -> None:
        self.tasks: list[Task] = []
        self.slots = 0
        self._nbytes: dict[int, int] = {}
        self._graph = graph
        self._target = target
        self._places: dict[int, Place] = {}
        self._copies: dict[int, Place] = {}
        # By launch, and by where what it reads lies: the slot of what it prepared.
        self._prepared: dict[Any, int] = {}
        self._uniform = self._find_uniform()

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

    def _slot(self, nbytes: int) -> int:
        slot = self.slots
        self.slots += 1
        self._nbytes[slot] = max(nbytes, 1)
        return slot

    def _new(self, spec: Spec) -> Place:
        slot = self._slot(spec.size * spec.dtype.itemsize)
        return Place(slot, row_major(spec.shape))

    def _place(self, position: int) -> Place:
        """Return where a node's value lies, writing a Python scalar to a buffer if it must."""
        if position not in self._places:
            scalar = self._uniform[position]
            assert scalar is not None
            if scalar not in self._places:
                node = self._graph.nodes[scalar]
                self._places[scalar] = self._filled(Spec((), node.spec.dtype), scalar, (scalar,))
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
            place = self._new(spec)
            self._elementwise(
                "copy", spec, (position,), [(position, layout)], [], {position: place}, {}
            )
            self._copies[position] = place
        return self._copies[position]

    def _filled(self, spec: Spec, scalar: int, nodes: tuple[int, ...]) -> Place:
        place = self._new(spec)
        self._elementwise("fill", spec, nodes, [(scalar, None)], [], {scalar: place}, {})
        return place

    def _view(self, position: int) -> None:
        """Find where a view of another value lies, which may have to be copied first."""
        node, inputs = self._graph.nodes[position], self._graph.inputs[position]
        op = node.op
        assert op is not None and op.view is not None
        viewed = op.view(self._layout(inputs[0]), **node.attrs)
        base = self._places[inputs[0]]
        if viewed is None:
            base = self._contiguous(inputs[0])
            spec = self._graph.nodes[inputs[0]].spec
            viewed = op.view(Layout(spec.shape, base.strides, spec.dtype), **node.attrs)
            assert viewed is not None, f"{op.name} is not a view of a contiguous value"
        self._places[position] = Place(base.slot, viewed[0], base.offset + viewed[1])

    def _elementwise(
        self,
        label: str,
        spec: Spec,
        nodes: tuple[int, ...],
        operands: list[tuple[int, Layout | None]],
        steps: list[tuple[int, str, list[tuple[int, DType]]]],
        results: Mapping[int, Place],
        updates: Mapping[int, int],
    ) -> None:
        """Add the launch of a chain over `spec.shape` that writes `results`.

        `updates`: operands that lie where a result goes, each with that result.
        """
        if not spec.size:
            return
        graph = self._graph
        # Names count from 0 in each kernel, so that equal chains have equal source.
        positions = [i for i, _ in operands]
        names = {i: f"v{k}" for k, i in enumerate([*positions, *(m for m, _, _ in steps)])}
        named = [
            Operand(names[i], graph.nodes[i].spec.dtype, layout, names.get(updates.get(i, -1), ""))
            for i, layout in operands
        ]
        written = [
            Step(
                names[m],
                graph.nodes[m].spec.dtype,
                expr,
                tuple((names[n], d) for n, d in reads),
            )
            for m, expr, reads in steps
        ]
        cpu = self._target.type == "cpu"
        local = 1 if cpu else min(256, self._target.max_work_group)
        kept = [(names[i], graph.nodes[i].spec.dtype) for i in results]
        stream = cpu and sum(spec.size * d.itemsize for _, d in kept) >= _STREAMED
        source = fused_source(spec.shape, named, written, kept, local, stream)
        index = NUMPY_TYPES[source.index]
        args, shared = Arguments(), Arguments()
        task = Task(label, Launch("elementwise.cl", "elementwise", (), (), (), (local,)), nodes)
        for i, place in results.items():
            args.buffer(place.slot, 0, graph.nodes[i].spec.dtype.itemsize)
            task.writes.add(place.slot)
            task.nbytes += spec.size * graph.nodes[i].spec.dtype.itemsize
        for size in source.sizes:
            shared.static(index, size)
        strides = iter(source.strides)
        for operand, (position, layout) in zip(named, operands, strict=True):
            if layout is None:
                scalar = self._uniform[position]
                assert scalar is not None
                shared.scalar(arithmetic(operand.dtype), scalar)
                continue
            task.nbytes += touched(layout)
            if operand.updates:
                task.reads.add(self._places[position].slot)
                task.writes.add(self._places[position].slot)
                continue
            self._input(task, args, position)
            for stride in next(strides):
                args.static(index, stride)
        task.source, task.shared = source, shared
        task.flops = sum(self._flops(m) for m, _, _ in steps)
        task.parts = [Part(spec.size, args)]
        if not source.flat:
            self._finish_elementwise(task)
            task.parts = []
        self.tasks.append(task)

    def _finish_elementwise(self, task: Task) -> None:
        """Lay out the arguments and the range of an elementwise launch, all tensors known."""
        assert task.source is not None
        cpu = self._target.type == "cpu"
        local = task.launch.local_size[0]
        total = sum(part.size for part in task.parts)
        units = self._target.compute_units
        chunk = min(_CPU_CHUNK, max(256, -(-total // units))) if cpu else 1
        pieces = sum(-(-part.size // chunk) for part in task.parts)
        task.arguments = arguments_of(task, NUMPY_TYPES[task.source.index], chunk, pieces)
        items = 1 if cpu and total <= _CPU_ALONE else pieces
        task.launch = replace(
            task.launch,
            defines=task.source.defines(tensors_served(task)),
            global_size=(-(-items // local) * local,),
        )

    def _input(self, task: Task, arguments: Arguments, position: int) -> None:
        place = self._place(position)
        itemsize = self._graph.nodes[position].spec.dtype.itemsize
        arguments.buffer(place.slot, place.offset, itemsize)
        task.reads.add(place.slot)

    def _flops(self, position: int) -> float:
        return self._cost(position)[0]

    def _cost(self, position: int) -> tuple[float, float]:
        node = self._graph.nodes[position]
        if node.op is None or node.op.cost is None:
            return 0.0, 0.0
        specs = [self._graph.nodes[i].spec for i in self._graph.inputs[position]]
        return node.op.cost(node.spec, *specs, **node.attrs)

    def _launch_all(
        self,
        position: int,
        launches: Sequence[Launch],
        places: Sequence[Place | None],
        layouts: Sequence[Layout],
        inputs: Sequence[int],
    ) -> None:
        """Add the launches of a kernel op, whose operands lie at `places`."""
        scratch: dict[str, int] = {}
        cost = self._cost(position)
        for launch in launches:
            task = self._launched(position, launch, places, layouts, inputs, scratch)
            task.flops, task.nbytes = cost
            cost = (0.0, 0.0)  # all of it stands at the first launch
            self.tasks.append(task)

    def _launched(
        self,
        position: int,
        launch: Launch,
        places: Sequence[Place | None],
        layouts: Sequence[Layout],
        inputs: Sequence[int],
        scratch: dict[str, int],
    ) -> Task:
        """Return a launch of a kernel op, after adding those that prepare its operands."""
        node = self._graph.nodes[position]
        assert node.op is not None
        task = Task(node.op.name, launch, (position,))
        arguments = task.arguments

        def place_of(operand: int) -> Place:
            return places[operand] or self._place(inputs[operand])

        for arg in launch.args:
            if isinstance(arg, Out):
                slot = self._places[position].slot
                arguments.buffer(slot, arg.offset, node.spec.dtype.itemsize)
                task.writes.add(slot)
            elif isinstance(arg, Scalar):
                arguments.static(NUMPY_TYPES[arg.ctype], arg.value)
            elif isinstance(arg, Value):
                arguments.scalar(NUMPY_TYPES[arg.ctype], inputs[arg.operand])
            elif isinstance(arg, Scratch):
                if arg.name not in scratch:
                    scratch[arg.name] = self._slot(arg.nbytes)
                arguments.buffer(scratch[arg.name], 0, arg.itemsize)
                task.writes.add(scratch[arg.name])
            elif isinstance(arg, Prepared):
                place = place_of(arg.operand)
                key = (arg.launch, place.slot, place.offset, place.strides)
                if key not in self._prepared:
                    self._prepared[key] = slot = self._slot(arg.nbytes)
                    own = {"prepared": slot}
                    self.tasks.append(
                        self._launched(position, arg.launch, places, layouts, inputs, own)
                    )
                slot = self._prepared[key]
                arguments.buffer(slot, 0, arg.itemsize)
                task.reads.add(slot)
            else:
                assert isinstance(arg, In)
                place = place_of(arg.operand)
                itemsize = layouts[arg.operand].dtype.itemsize
                arguments.buffer(place.slot, place.offset, itemsize)
                task.reads.add(place.slot)
        return task


def touched(layout: Layout) -> int:
    """Return the bytes of the elements of a value, those that are repeated counted once."""
    count = 1
    for n, stride in zip(layout.shape, layout.strides, strict=True):
        count *= n if stride else 1
    return count * layout.dtype.itemsize
