"""From a graph's structure to launches and buffers, built once and replayed for its equals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clnet.core import Node
from clnet.dtypes import DType
from clnet.engine.batch import arguments_of, batched, tensors_served
from clnet.engine.fuse import Operand, Step, fused_source, op_expr
from clnet.engine.graph import INTERNAL, OUTPUT, Graph, without_aliases
from clnet.engine.groups import Group, consumers_of, elementwise_groups, schedule
from clnet.engine.memory import lay_out
from clnet.engine.rows import FOLD, VIEW, RowGroup, row_groups
from clnet.engine.rows_source import rows_source
from clnet.engine.task import NUMPY_TYPES, Arguments, Part, Task, arithmetic
from clnet.records import In, Launch, Layout, Out, Scalar, Scratch, Spec, Value, row_major

# Elements that a work-item of a CPU takes: enough to pay for its start, few enough to share out.
_CPU_CHUNK = 16384
# Elements up to which rows are not shared out: one work-item can then be merged with others.
_TINY = 4096


@dataclass
class Place:
    """Where a value lies during a run: a slot, strides, and an offset within the slot's value."""

    slot: int
    strides: tuple[int, ...]
    offset: int = 0


class Plan:
    """The launches that compute a graph, in order, and where each result lies afterwards.

    leaves     (node, slot) of values that exist already.
    tasks      the launches.
    results    (node, slot, strides, offset) of the values to keep.
    updates    (slot, leaf's slot, bytes, itemsize): results that take over the place of a leaf,
               which nothing reads later.
    memory     the buffers that a run allocates.
    slots      number of slots.
    reasons    by node, in words, why it was not fused.
    `donated` are pairs (leaf, result): values that the result may overwrite.
    """

    def __init__(self, graph: Graph, target: Any, donated: Mapping[int, int] | None = None) -> None:
        self.leaves: list[tuple[int, int]] = []
        self.tasks: list[Task] = []
        self.results: list[tuple[int, int, tuple[int, ...], int]] = []
        self.updates: list[tuple[int, int, int, int]] = []
        self.reasons: dict[int, str] = {}
        self.slots = 0
        self._nbytes: dict[int, int] = {}
        self._graph = graph = without_aliases(graph)
        self._target = target
        self._places: dict[int, Place] = {}
        self._copies: dict[int, Place] = {}
        self._done: set[int] = set()
        self._uniform = self._find_uniform()
        self._consumers = consumers_of(graph)
        self._donated = self._accepted(donated or {})
        self._plan()
        self._finish()
        del self._graph, self._target, self._places, self._copies, self._done
        del self._uniform, self._consumers, self._donated, self._nbytes

    # --- which units ------------------------------------------------------------------------------

    def _plan(self) -> None:
        graph = self._graph
        for position, node in enumerate(graph.nodes):
            if node.buffer is not None:
                assert node.strides is not None
                self.leaves.append((position, self.slots))
                self._places[position] = Place(self.slots, node.strides)
                self.slots += 1
        rows, self.reasons = row_groups(graph, self._consumers, self._uniform)
        taken = [group.members for group in rows]
        groups = elementwise_groups(graph, self._consumers, taken, self._fusable, self._uniform)
        units: dict[tuple[int, ...], Any] = {group.members: group for group in [*groups, *rows]}
        covered = {m for unit in units for m in unit}
        for position, node in enumerate(graph.nodes):
            if position not in covered and node.buffer is None and self._needed(position):
                units[position,] = None
        members = list(units)
        updating = set(self._donated)
        for number in schedule(graph, members, lambda unit: not updating.isdisjoint(unit)):
            group = units[members[number]]
            if group is None:
                self._single(members[number][0])
            elif isinstance(group, Group):
                self._group(group)
            else:
                self._rows(group)
            self._done.update(members[number])

    def _fusable(self, position: int) -> bool:
        """Whether a node is elementwise work that has to be done."""
        op = self._graph.nodes[position].op
        return (
            op is not None
            and op.expr is not None
            and bool(self._graph.inputs[position])
            and self._uniform[position] is None
        )

    def _needed(self, position: int) -> bool:
        """Whether a node is read, or is to be kept; false of aliases that were seen through."""
        return bool(self._consumers[position]) or self._graph.flags[position] == OUTPUT

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

    def _accepted(self, donated: Mapping[int, int]) -> dict[int, int]:
        """Return, by result, the leaf that it may overwrite: one that lies without gaps."""
        accepted = {}
        for leaf, result in donated.items():
            node = self._graph.nodes[leaf]
            if node.buffer is not None and node.layout.contiguous and node.spec.size:
                accepted[result] = leaf
        return accepted

    # --- values ---------------------------------------------------------------------------------

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

    # --- launches -------------------------------------------------------------------------------

    def _single(self, position: int) -> None:
        """Add the launches of a node that shares none."""
        node = self._graph.nodes[position]
        op, inputs = node.op, self._graph.inputs[position]
        scalar = self._uniform[position]
        if scalar is not None:
            if self._graph.flags[position] == OUTPUT:
                self._places[position] = self._filled(node.spec, scalar, (position,))
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

    def _group(self, group: Group) -> None:
        """Add the launch of a group of elementwise nodes."""
        graph = self._graph
        operands: dict[int, Layout | None] = {}
        steps = []
        for member in group.members:
            node = graph.nodes[member]
            assert node.op is not None and node.op.expr is not None
            for i in graph.inputs[member]:
                if i not in group.members and i not in operands:
                    operands[i] = None if self._uniform[i] is not None else self._layout(i)
            reads = [(i, graph.nodes[i].spec.dtype) for i in graph.inputs[member]]
            steps.append((member, op_expr(node.op.expr, reads[-1][1]), reads))
        label = " ".join(n.op.name for n in map(graph.nodes.__getitem__, group.members) if n.op)
        spec = graph.nodes[group.members[-1]].spec
        results = {o: self._new(graph.nodes[o].spec) for o in group.outputs}
        updates = {}
        for output, place in results.items():
            leaf = self._overwritten(output, group)
            if leaf is not None:
                updates[leaf] = output
                size, of = graph.nodes[leaf].spec.size, graph.nodes[leaf].spec.dtype
                slot = self._places[leaf].slot
                self.updates.append((place.slot, slot, size * of.itemsize, of.itemsize))
        listed = list(operands.items())
        self._elementwise(label, spec, group.members, listed, steps, results, updates)
        self._places.update(results)

    def _rows(self, group: RowGroup) -> None:
        """Add the launches of a group that goes row by row."""
        graph, members = self._graph, group.members
        external = dict.fromkeys(i for m in members for i in graph.inputs[m] if i not in members)
        places: dict[int, Place] = {}
        layouts: dict[int, Layout] = {}
        for i in external:
            if self._uniform[i] is None:
                layout = self._layout(i)
                places[i] = self._places[i]
                if not group.walks(layout):
                    places[i] = self._contiguous(i)
                spec = graph.nodes[i].spec
                layouts[i] = Layout(spec.shape, places[i].strides, spec.dtype)
        cpu = self._target.type == "cpu"
        local = 1
        if not cpu:
            local = min(256, self._target.max_work_group, 1 << max(group.n - 1, 31).bit_length())
        source = rows_source(graph, group, self._uniform, layouts, local)
        units = self._target.compute_units
        rows, length = group.rows, group.n
        if group.few_long_rows:
            length = max(1 << 12, -(-group.n // (8 * units if cpu else 64 * units)))
            rows = -(-group.n // length)
        groups = min(rows, (4 if cpu else 64) * units)
        if group.rows * group.n <= _TINY:
            groups = 1
        each = -(-rows // groups)
        groups = -(-rows // each)
        label = " ".join(
            n.op.name for n in map(graph.nodes.__getitem__, members) if n.op and not n.op.view
        )
        range_ = (groups * local,)
        launch = Launch("rows.cl", "rows", source.defines, (), range_, (local,))
        task = Task(label, launch, members)
        index, args = NUMPY_TYPES[source.index], task.arguments
        args.static(index, rows)
        args.static(index, length)
        args.static(np.int64, group.rows * group.n)
        args.static(index, each)
        partial = -1
        for output in group.outputs:
            spec = graph.nodes[output].spec
            place = self._places[output] = self._new(spec)
            slot = place.slot
            if group.few_long_rows and group.kinds[output] == FOLD:
                partial = slot = self._slot(rows * spec.dtype.itemsize)
            args.buffer(slot, 0, spec.dtype.itemsize)
            task.writes.add(slot)
            task.nbytes += spec.size * spec.dtype.itemsize
        for i, strides in source.operands:
            itemsize = graph.nodes[i].spec.dtype.itemsize
            args.buffer(places[i].slot, places[i].offset, itemsize)
            task.reads.add(places[i].slot)
            task.nbytes += _touched(layouts[i])
            for stride in strides:
                args.static(index, stride)
        for size in source.sizes:
            args.static(index, size)
        for i in source.scalars:
            scalar = self._uniform[i]
            assert scalar is not None
            args.scalar(arithmetic(graph.nodes[i].spec.dtype), scalar)
        if source.kept:
            row = source.kept * (-(-length * 8 // 64) * 64)
            kept = self._slot(groups * row)
            args.buffer(kept, 0, 1)
            args.static(np.int64, row)
            task.writes.add(kept)
        task.flops = sum(self._flops(m) for m in members)
        self.tasks.append(task)
        if partial >= 0:
            (folded,) = (m for m in group.outputs if group.kinds[m] == FOLD)
            self._join_parts(folded, partial, rows)
        for m in members:
            outside = any(c not in members for c in self._consumers[m])
            if group.kinds[m] == VIEW and (outside or graph.flags[m] == OUTPUT):
                self._single(m)

    def _join_parts(self, position: int, partial: int, count: int) -> None:
        """Fold the partial results of one long row by the reduction's own kernel."""
        node = self._graph.nodes[position]
        assert node.op is not None and node.op.kernel is not None
        layout = Layout((count,), (1,), node.spec.dtype)
        spec = Spec((), node.spec.dtype)
        launches = node.op.kernel(self._target, spec, (layout,), dims=(0,))
        self._launch_all(position, launches, [Place(partial, (1,))], [layout], ())

    def _overwritten(self, output: int, group: Group) -> int | None:
        """Return the leaf, read by the group itself, whose place a result of it can take."""
        leaf = self._donated.get(output)
        readers = self._consumers[leaf] if leaf is not None else []
        if leaf is None or set(readers).isdisjoint(group.members):
            return None
        waiting = [c for c in readers if c not in group.members]
        while waiting:  # through views, whose readers read the leaf
            position = waiting.pop()
            op = self._graph.nodes[position].op
            if op is not None and op.view is not None:
                waiting += self._consumers[position]
            if position not in self._done or self._graph.flags[position] == OUTPUT:
                return None
        return leaf

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
        source = fused_source(spec.shape, named, written, kept, local)
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
            task.nbytes += _touched(layout)
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
        items = sum(-(-part.size // chunk) for part in task.parts)
        task.arguments = arguments_of(task, NUMPY_TYPES[task.source.index], chunk)
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
        self._places[position] = self._new(node.spec)
        if node.spec.size:
            self._launch_all(position, launches, places, layouts, inputs)

    def _launch_all(
        self,
        position: int,
        launches: Sequence[Launch],
        places: Sequence[Place | None],
        layouts: Sequence[Layout],
        inputs: Sequence[int],
    ) -> None:
        """Add the launches of a kernel op, whose operands lie at `places`."""
        node = self._graph.nodes[position]
        assert node.op is not None
        result = self._places[position]
        scratch: dict[str, int] = {}
        cost = self._cost(position)
        for launch in launches:
            task = Task(node.op.name, launch, (position,))
            task.flops, task.nbytes = cost
            cost = (0.0, 0.0)  # all of it stands at the first launch
            arguments = task.arguments
            for arg in launch.args:
                if isinstance(arg, Out):
                    arguments.buffer(result.slot, arg.offset, node.spec.dtype.itemsize)
                    task.writes.add(result.slot)
                elif isinstance(arg, Scalar):
                    arguments.static(NUMPY_TYPES[arg.ctype], arg.value)
                elif isinstance(arg, Value):
                    arguments.scalar(NUMPY_TYPES[arg.ctype], inputs[arg.operand])
                elif isinstance(arg, Scratch):
                    if arg.name not in scratch:
                        scratch[arg.name] = self._slot(arg.nbytes)
                    arguments.buffer(scratch[arg.name], 0, arg.itemsize)
                    task.writes.add(scratch[arg.name])
                else:
                    assert isinstance(arg, In)
                    place = places[arg.operand] or self._place(inputs[arg.operand])
                    itemsize = layouts[arg.operand].dtype.itemsize
                    arguments.buffer(place.slot, place.offset, itemsize)
                    task.reads.add(place.slot)
            self.tasks.append(task)

    # --- the end --------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Gather launches, and decide what is kept and where everything lies."""
        graph = self._graph
        kept: set[int] = set()
        for position, node in enumerate(graph.nodes):
            if node.buffer is None and graph.flags[position] != INTERNAL:
                place = self._places.get(position)
                if place is not None:
                    self.results.append((position, place.slot, place.strides, place.offset))
                    kept.add(place.slot)
        updated = {slot: leaf for slot, leaf, _, _ in self.updates}
        self.tasks = batched(self.tasks, self._finish_elementwise)
        own = {slot: n for slot, n in self._nbytes.items() if slot not in updated}
        largest = self._target.max_allocation
        self.memory = lay_out(self.tasks, own, kept - set(updated), self.slots, largest)
        self.slots = max([self.slots, *(slot + 1 for slot in self.memory.buffers)])
        leaves = {slot for _, slot in self.leaves}
        for task in self.tasks:
            self._bind(task.arguments, leaves, updated)

    def _bind(self, arguments: Arguments, leaves: set[int], updated: Mapping[int, int]) -> None:
        """Put what the layout of memory decides into the arguments of a launch."""
        inside = self.memory.inside
        arguments.buffers = [
            (a, inside[slot][0] if slot in inside else updated.get(slot, slot))
            for a, slot in arguments.buffers
        ]
        offsets = []
        for a, slot, delta, itemsize in arguments.offsets:
            slot = updated.get(slot, slot)
            if slot in leaves:
                offsets.append((a, slot, delta))
            else:
                start = inside[slot][1] if slot in inside else 0
                arguments.values[a] = delta + start // itemsize
        arguments.moved = offsets


def _touched(layout: Layout) -> int:
    """Return the bytes of the elements of a value, those that are repeated counted once."""
    count = 1
    for n, stride in zip(layout.shape, layout.strides, strict=True):
        count *= n if stride else 1
    return count * layout.dtype.itemsize
