"""From a graph's structure to launches and buffers, built once and replayed for its equals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clnet.core import Node
from clnet.engine.batch import batched
from clnet.engine.fuse import op_expr
from clnet.engine.graph import INTERNAL, OUTPUT, Graph, without_aliases
from clnet.engine.groups import Group, consumers_of, elementwise_groups, schedule
from clnet.engine.launches import Launches, Place, touched
from clnet.engine.memory import lay_out
from clnet.engine.rows import FOLD, VIEW, RowGroup, row_groups
from clnet.engine.rows_source import rows_source
from clnet.engine.task import NUMPY_TYPES, Arguments, Task, arithmetic
from clnet.records import Launch, Layout, Spec

# Elements up to which rows are not shared out: one work-item can then be merged with others.
_TINY = 4096


class Plan(Launches):
    """The launches that compute a graph, in order, and where each result lies afterwards.

    leaves     (node, slot) of values that exist already.
    tasks      the launches, in order.
    results    (node, slot, strides, offset) of the values to keep.
    updates    (slot, leaf's slot, bytes, itemsize): results that take over the place of a leaf,
               which nothing reads later.
    memory     the buffers that a run allocates.
    slots      number of slots.
    reasons    by node, in words, why it was not fused.
    `donated` are pairs (leaf, result): values that the result may overwrite.
    """

    def __init__(self, graph: Graph, target: Any, donated: Mapping[int, int] | None = None) -> None:
        super().__init__(without_aliases(graph), target)
        self.leaves: list[tuple[int, int]] = []
        self.results: list[tuple[int, int, tuple[int, ...], int]] = []
        self.updates: list[tuple[int, int, int, int]] = []
        self.reasons: dict[int, str] = {}
        self._done: set[int] = set()
        self._consumers = consumers_of(self._graph)
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
        units: dict[tuple[int, ...], Group | RowGroup | None] = {}
        units.update((group.members, group) for group in groups)
        units.update((group.members, group) for group in rows)
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

    def _accepted(self, donated: Mapping[int, int]) -> dict[int, int]:
        """Return, by result, the leaf that it may overwrite: one that lies without gaps."""
        accepted = {}
        for leaf, result in donated.items():
            node = self._graph.nodes[leaf]
            if node.buffer is not None and node.layout.contiguous and node.spec.size:
                accepted[result] = leaf
        return accepted

    # --- values ---------------------------------------------------------------------------------

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
            task.nbytes += touched(layouts[i])
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
            if group.kinds[m] == VIEW and graph.inputs[m][0] in self._places:
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
