"""The launches of groups that go row by row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clnet.engine.columns_source import ColumnsSource
from clnet.engine.launches import Launches, Place, touched
from clnet.engine.rows import FOLD, VIEW, RowGroup
from clnet.engine.rows_source import RowsSource, rows_source
from clnet.engine.task import NUMPY_TYPES, Task, arithmetic
from clnet.records import Launch, Layout, Spec

# Elements up to which rows are not shared out: one work-item can then be merged with others.
_TINY = 4096


class RowLaunches(Launches):
    """Adds the launches of row groups."""

    def _rows(self, group: RowGroup) -> None:
        """Add the launches of a group that goes row by row."""
        graph, members = self._graph, group.members
        places, layouts = self._group_operands(group)
        cpu = self._target.type == "cpu"
        local = self._items(group.n)
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
        self._group_arguments(task, source, places, layouts)
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
            dtype = graph.nodes[folded].spec.dtype
            self._join_chunks(folded, partial, Layout((rows,), (1,), dtype))
        for m in members:
            if group.kinds[m] == VIEW and graph.inputs[m][0] in self._places:
                self._view(m)

    def _items(self, length: int) -> int:
        """Return the work-items of a group that share out rows, or columns, of that length."""
        if self._target.type == "cpu":
            return 1
        return min(256, self._target.max_work_group, 1 << max(length - 1, 31).bit_length())

    def _group_operands(self, group: RowGroup) -> tuple[dict[int, Place], dict[int, Layout]]:
        """Return where the operands of a group lie, copied where the group cannot walk them."""
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
        return places, layouts

    def _group_arguments(
        self,
        task: Task,
        source: RowsSource | ColumnsSource,
        places: Mapping[int, Place],
        layouts: Mapping[int, Layout],
    ) -> None:
        """Append the arguments of operands, of sizes and of scalars."""
        index, args = NUMPY_TYPES[source.index], task.arguments
        for i, strides in source.operands:
            itemsize = self._graph.nodes[i].spec.dtype.itemsize
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
            args.scalar(arithmetic(self._graph.nodes[i].spec.dtype), scalar)

    def _join_chunks(self, position: int, partial: int, layout: Layout) -> None:
        """Fold partial results, chunk by chunk, by the reduction's own kernel."""
        node = self._graph.nodes[position]
        assert node.op is not None and node.op.kernel is not None
        spec = Spec(layout.shape[1:], node.spec.dtype)
        launches = node.op.kernel(self._target, spec, (layout,), dims=(0,))
        place = Place(partial, layout.strides)
        self._launch_all(position, launches, [place], [layout], ())
