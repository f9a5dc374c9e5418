"""From a graph's structure to launches and buffers, built once and replayed for its equals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clnet.dtypes import DType
from clnet.engine.batch import batched
from clnet.engine.columns import ColumnGroup, fused_groups
from clnet.engine.columns_launch import ColumnLaunches
from clnet.engine.fuse import op_expr
from clnet.engine.graph import INTERNAL, OUTPUT, Graph, without_aliases
from clnet.engine.groups import Group, consumers_of, elementwise_groups, schedule
from clnet.engine.launches import Place
from clnet.engine.memory import lay_out
from clnet.engine.rows import RowGroup
from clnet.engine.stored import Stored, by_rows, stored_groups, stored_macros
from clnet.engine.task import NUMPY_TYPES, Arguments, arithmetic
from clnet.records import Launch, Layout


class Plan(ColumnLaunches):
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
        self._uses = self._count_uses()
        self._donated = self._accepted(donated or {})
        self._plan()
        self._finish()
        del self._graph, self._target, self._places, self._copies, self._done
        del self._uniform, self._consumers, self._donated, self._nbytes, self._uses
        del self._prepared

    # --- which units ------------------------------------------------------------------------------

    def _plan(self) -> None:
        graph = self._graph
        for position, node in enumerate(graph.nodes):
            if node.buffer is not None:
                assert node.strides is not None
                self.leaves.append((position, self.slots))
                self._places[position] = Place(self.slots, node.strides)
                self.slots += 1
        rows, columns, self.reasons = fused_groups(graph, self._consumers, self._uniform)
        taken = [group.members for group in (*rows, *columns)]
        groups, ends = elementwise_groups(
            graph, self._consumers, taken, self._fusable, self._uniform
        )
        stored, alone = stored_groups(graph, groups, self._consumers)
        self.reasons.update(ends | alone)
        units: dict[tuple[int, ...], Group | RowGroup | Stored | None] = {}
        for group in groups:
            of = stored.get(group.members)
            if of is None:
                units[group.members] = group
            else:
                units[tuple(sorted({*group.members, of.product, of.seen}))] = of
        units.update((group.members, group) for group in (*rows, *columns))
        covered = {m for unit in units for m in unit}
        for position, node in enumerate(graph.nodes):
            if position not in covered and node.buffer is None and self._needed(position):
                units[position,] = None
        members = list(units)
        updating = set(self._donated)
        for number in schedule(graph, members, lambda unit: not updating.isdisjoint(unit)):
            unit = units[members[number]]
            if unit is None:
                self._single(members[number][0])
            elif isinstance(unit, Group):
                self._group(unit)
            elif isinstance(unit, Stored):
                self._product(unit)
            elif isinstance(unit, ColumnGroup):
                self._columns(unit)
            else:
                self._rows(unit)
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
        op = node.op
        scalar = self._uniform[position]
        if scalar is not None:
            if self._graph.flags[position] == OUTPUT:
                self._places[position] = self._filled(node.spec, scalar, (position,))
        elif op is not None and op.view is not None:
            self._view(position)
        elif op is not None and op.kernel is not None:
            self._kernel_op(position)

    def _group(self, group: Group) -> None:
        """Add the launch of a group of elementwise nodes."""
        graph = self._graph
        operands: dict[int, Layout | None] = {}
        steps = []
        for member in group.members:
            for i in graph.inputs[member]:
                if i not in group.members and i not in operands:
                    operands[i] = None if self._uniform[i] is not None else self._layout(i)
            steps.append((member, *self._step(member)))
        label = " ".join(n.op.name for n in map(graph.nodes.__getitem__, group.members) if n.op)
        spec = graph.nodes[group.members[-1]].spec
        results = {o: self._new(graph.nodes[o].spec) for o in group.outputs}
        updates = {}
        for output, place in results.items():
            leaf = self._overwritten(output, group.members)
            if leaf is not None:
                updates[leaf] = output
                self._take_over(place, leaf)
        listed = list(operands.items())
        self._elementwise(label, spec, group.members, listed, steps, results, updates)
        self._places.update(results)

    def _take_over(self, place: Place, leaf: int) -> None:
        """Note that a result takes over the place of a leaf."""
        spec, slot = self._graph.nodes[leaf].spec, self._places[leaf].slot
        each = spec.dtype.itemsize
        self.updates.append((place.slot, slot, spec.size * each, each))

    def _overwritten(self, output: int, members: Sequence[int]) -> int | None:
        """Return the leaf, read by a unit itself, whose place a result of it can take."""
        leaf = self._donated.get(output)
        readers = self._consumers[leaf] if leaf is not None else []
        if leaf is None or set(readers).isdisjoint(members):
            return None
        waiting = [c for c in readers if c not in members]
        while waiting:  # through views, whose readers read the leaf
            position = waiting.pop()
            if not self._needed(position):
                continue
            op = self._graph.nodes[position].op
            if op is not None and op.view is not None:
                waiting += self._consumers[position]
            if position not in self._done or self._graph.flags[position] == OUTPUT:
                return None
        return leaf

    def _kernel_op(self, position: int) -> None:
        node, inputs = self._graph.nodes[position], self._graph.inputs[position]
        places, layouts, launches = self._kernel_launches(position)
        self._places[position] = place = self._new(node.spec)
        if not node.spec.size:
            return
        if node.op is not None and node.op.overwrites:
            leaf = self._overwritten(position, (position,))
            if leaf is not None and leaf == inputs[0]:
                self._take_over(place, leaf)
                launches = launches[1:]
        self._launch_all(position, launches, places, layouts, inputs)

    def _kernel_launches(
        self, position: int
    ) -> tuple[list[Place | None], list[Layout], list[Launch]]:
        """Return where a kernel op's operands lie (None: a scalar, yet unwritten), and how."""
        graph, node = self._graph, self._graph.nodes[position]
        op, inputs = node.op, graph.inputs[position]
        assert op is not None and op.kernel is not None
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
        attrs = dict(node.attrs)
        if op.counts:
            attrs["uses"] = tuple([self._uses[self._origin(i)] for i in inputs])
        return places, layouts, op.kernel(self._target, node.spec, tuple(layouts), **attrs)

    def _origin(self, position: int) -> tuple[Any, ...]:
        """Return what a value is: a node's position, and the views that are taken of it in turn."""
        views: list[Any] = []
        node = self._graph.nodes[position]
        while node.op is not None and node.op.view is not None and self._graph.inputs[position]:
            views.append((node.op, tuple(node.attrs.items())))
            position = self._graph.inputs[position][0]
            node = self._graph.nodes[position]
        return position, *views

    def _count_uses(self) -> Counter[tuple[Any, ...]]:
        """Count the operands, by what they are, of ops whose kernels ask for their uses."""
        uses: Counter[tuple[Any, ...]] = Counter()
        for node, inputs in zip(self._graph.nodes, self._graph.inputs, strict=True):
            if node.op is not None and node.op.counts:
                uses.update(self._origin(i) for i in inputs)
        return uses

    def _product(self, unit: Stored) -> None:
        """Add a product whose last launch applies a chain as it stores, or both apart."""
        graph, product = self._graph, unit.product
        members = unit.group.members
        root = graph.nodes[members[-1]]
        places, layouts, launches = self._kernel_launches(product)
        if not launches or "STORED" not in dict(launches[-1].defines):
            self._kernel_op(product)
            if unit.seen != product:
                self._single(unit.seen)
            self._group(unit.group)
            return
        inside = {*members, unit.seen}
        external = list(dict.fromkeys(i for m in members for i in graph.inputs[m]))
        external = [i for i in external if i not in inside]
        extra = Arguments()
        given: list[tuple[int, DType, int | None]] = []
        reads = set()
        for i in external:
            dtype = graph.nodes[i].spec.dtype
            scalar = self._uniform[i]
            if scalar is not None:
                given.append((i, dtype, None))
                extra.scalar(arithmetic(dtype), scalar)
                continue
            strides = by_rows(root.spec.shape, self._layout(i))
            place = self._places[i]
            if strides is None:
                place = self._contiguous(i)
                strides = (root.spec.shape[-1], 1)
            given.append((i, dtype, strides[1]))
            extra.buffer(place.slot, place.offset, dtype.itemsize)
            index = NUMPY_TYPES[dict(launches[-1].defines)["INDEX"]]
            extra.static(index, strides[0])
            extra.static(index, strides[1])
            reads.add(place.slot)
        steps = [(m, graph.nodes[m].spec.dtype, *self._step(m)) for m in members]
        macros = stored_macros(unit.seen, graph.nodes[product].spec.dtype, given, steps)
        defines = tuple((k, macros.get(k, v)) for k, v in launches[-1].defines)
        self._places[members[-1]] = self._places[product] = self._new(root.spec)
        launches = [*launches[:-1], replace(launches[-1], defines=defines)]
        self._launch_all(product, launches, places, layouts, graph.inputs[product])
        del self._places[product]
        task = self.tasks[-1]
        task.arguments.extend(extra)
        task.reads |= reads
        task.nodes = (product, *members)
        names = [n.op.name for n in map(graph.nodes.__getitem__, task.nodes) if n.op]
        task.label = " ".join(names)

    def _step(self, member: int) -> tuple[str, list[tuple[int, DType]]]:
        """Return an elementwise node's expression, and what it reads."""
        op = self._graph.nodes[member].op
        assert op is not None and op.expr is not None
        reads = [(i, self._graph.nodes[i].spec.dtype) for i in self._graph.inputs[member]]
        return op_expr(op.expr, reads[-1][1]), reads

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
