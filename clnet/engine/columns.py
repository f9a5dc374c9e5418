"""Which reductions over dims before the last share a kernel with the elementwise work before them.

A domain is R rows of n x columns elements: the n are the dims that a reduction folds, the columns
those after them. One walk computes the elements and folds them; what follows the results is not in
it, because a fold may be shared out in chunks that a second launch joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from clnet.engine.graph import OUTPUT, Graph
from clnet.engine.rows import FOLD, MAX_BUFFERS, MAX_MEMBERS, Grouping, RowGroup
from clnet.records import Layout, collapse

# Accumulators of a CPU's work-item take 24 KB each of its stack.
_MAX_FOLDS = 4


@dataclass
class ColumnGroup(RowGroup):
    """Nodes that one kernel computes in one walk; `kept` are the dims after the folded ones."""

    kept: tuple[int, ...] = ()

    @property
    def columns(self) -> int:
        """Neighbouring results."""
        return prod(self.kept)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a value with an element for each element of the domain."""
        return self.outer + self.inner + self.kept

    def is_row(self, shape: Sequence[int]) -> bool:
        """No value of the walk has one element a row."""
        return False

    def walks(self, layout: Layout) -> bool:
        """Whether an operand can be read as it lies: with one stride along the columns."""
        _, (strides,) = collapse(self.kept, layout.strides[-len(self.kept) :])
        return len(strides) < 2


class _Columns:
    """Grows groups of columns beside those of rows, from the nodes that those left."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self.graph = grouping.graph
        # By domain: the group that began last.
        self.latest: dict[tuple[tuple[int, ...], ...], ColumnGroup] = {}
        self.stored = self._stored()

    def _stored(self) -> list[bool]:
        """Return, for each node, whether the kernel of a product may apply it as it stores.

        Then it costs no pass over memory, and a walk that computed it would add one.
        """
        graph, consumers = self.graph, self.grouping.consumers
        passed: list[bool] = []  # whether a node's only reader may be stored with the product
        stored: list[bool] = []
        for position, node in enumerate(graph.nodes):
            op, inputs = node.op, graph.inputs[position]
            view = op is not None and op.view is not None
            follows = any(passed[i] for i in inputs)
            stored.append(follows and self.grouping.elementwise(position))
            goes_on = (op is not None and op.stores) or (follows and (view or stored[-1]))
            alone = graph.flags[position] != OUTPUT and len(consumers[position]) == 1
            passed.append(bool(goes_on) and alone)
        return stored

    def visit(self, position: int) -> None:
        """Let a reduction join the latest group of its domain, or begin one."""
        graph, grouping = self.graph, self.grouping
        node = graph.nodes[position]
        if node.op is None or not node.op.fold or not graph.inputs[position]:
            return
        if position in grouping.group_of or position in grouping.reasons:
            return
        if grouping.uniform[position] is not None:
            return
        (operand,) = graph.inputs[position]
        shape, dims = graph.nodes[operand].spec.shape, sorted(node.attrs["dims"])
        if not dims or any(b - a != 1 for a, b in pairwise(dims)):
            grouping.reasons[position] = "folds dims that do not lie side by side"
            return
        domain = shape[: dims[0]], shape[dims[0] : dims[-1] + 1], shape[dims[-1] + 1 :]
        if 0 in shape or prod(domain[1]) == 1:
            grouping.reasons[position] = "no elements, or one, to fold"
            return
        if self.stored[operand]:
            grouping.reasons[position] = "what it folds is stored by the product before it"
            return
        latest = self.latest.get(domain)
        if latest is None or not self._joins(latest, position):
            group = ColumnGroup(domain[0], domain[1], kept=domain[2])
            added = {position: FOLD}
            grouping.producers(group, position, added, self._allowed)
            grouping.add(group, added)
            grouping.groups.append(group)
            self.latest[domain] = group

    def _allowed(self, position: int) -> bool:
        return not self.stored[position]

    def _joins(self, group: ColumnGroup, position: int) -> bool:
        """Add a reduction, with its producers, to a group that reads or computes the same."""
        grouping, inputs = self.grouping, self.graph.inputs
        if sum(kind == FOLD for kind in group.kinds.values()) >= _MAX_FOLDS:
            return False
        added = {position: FOLD}
        if len(group.kinds) >= MAX_MEMBERS or not grouping.free(group, added):
            return False
        grouping.producers(group, position, added, self._allowed)
        known = group.kinds.keys() | {i for m in group.kinds for i in inputs[m]}
        known = {i for i in known if grouping.uniform[i] is None}
        if known.isdisjoint(i for m in added for i in inputs[m]):
            return False
        if grouping.buffers(group, added) > MAX_BUFFERS:
            return False
        grouping.add(group, added)
        return True


def fused_groups(
    graph: Graph, consumers: Sequence[Sequence[int]], uniform: Sequence[int | None]
) -> tuple[list[RowGroup], list[ColumnGroup], dict[int, str]]:
    """Return the groups by rows and by columns, and by position why a reduction is in none."""
    grouping = Grouping(graph, consumers, uniform)
    if any(n.op is not None and n.op.fold for n in graph.nodes):
        for position in range(len(graph.nodes)):
            grouping.visit(position)
        columns = _Columns(grouping)
        for position in range(len(graph.nodes)):
            columns.visit(position)
    kept = grouping.finish()
    rows = [group for group in kept if not isinstance(group, ColumnGroup)]
    return rows, [group for group in kept if isinstance(group, ColumnGroup)], grouping.reasons
