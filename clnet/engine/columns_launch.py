"""The launches of groups that go by columns."""

from __future__ import annotations

from clnet.columns import column_chunks, columns_across
from clnet.dtypes import accumulator
from clnet.engine.columns import ColumnGroup
from clnet.engine.columns_source import columns_source
from clnet.engine.rows import FOLD
from clnet.engine.rows_launch import RowLaunches
from clnet.engine.task import NUMPY_TYPES, Task
from clnet.records import Launch, Layout


class ColumnLaunches(RowLaunches):
    """Adds the launches of groups by columns."""

    def _columns(self, group: ColumnGroup) -> None:
        """Add the launches of a group that goes by columns."""
        graph, members, target = self._graph, group.members, self._target
        places, layouts = self._group_operands(group)
        rows, columns = group.rows, group.columns
        chunks, length = column_chunks(target, rows, columns, group.n)
        across = columns_across(target, rows * chunks, columns)
        local = self._items(columns)
        folded = {}
        for m in members:
            if group.kinds[m] == FOLD:
                dtype = graph.nodes[m].spec.dtype
                folded[m] = accumulator(dtype) if chunks > 1 else dtype
        source = columns_source(graph, group, self._uniform, layouts, folded, local)
        size = (-(-columns // (across * local)) * local, rows, chunks)
        launch = Launch("columns.cl", "columns", source.defines, (), size, (local, 1, 1))
        label = " ".join(n.op.name for n in map(graph.nodes.__getitem__, members) if n.op)
        task = Task(label, launch, members)
        index, args = NUMPY_TYPES[source.index], task.arguments
        for value in (columns, across, length, group.n):
            args.static(index, value)
        partial: dict[int, int] = {}
        for output in group.outputs:
            spec = graph.nodes[output].spec
            place = self._places[output] = self._new(spec)
            slot, itemsize = place.slot, spec.dtype.itemsize
            if chunks > 1 and output in folded:
                itemsize = folded[output].itemsize
                partial[output] = slot = self._slot(chunks * spec.size * itemsize)
            args.buffer(slot, 0, itemsize)
            task.writes.add(slot)
            task.nbytes += spec.size * itemsize
        self._group_arguments(task, source, places, layouts)
        task.flops = sum(self._flops(m) for m in members)
        self.tasks.append(task)
        for m, slot in partial.items():
            count = rows * columns
            self._join_chunks(m, slot, Layout((chunks, count), (count, 1), folded[m]))
