"""Which reductions share a kernel with the elementwise work before and after them, row by row.

A domain is R rows of n elements: the n are the trailing dims that a reduction folds. In it a value
is FULL (an element a row and column), ROW (one value a row: a reduction's result, and elementwise
work on those), or a view that repeats a ROW value along its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

from clnet.dtypes import accumulator
from clnet.engine.graph import OUTPUT, Graph
from clnet.records import Layout, collapse, row_major

FULL, ROW, VIEW, FOLD = "full", "row", "view", "fold"
# Limits that keep a kernel within every device's registers and 1 KB of arguments.
MAX_MEMBERS = 48
MAX_BUFFERS = 12
# Rows shorter than this are worth a kernel of their own only while there are few elements.
_SHORT_ROW = 16
_FEW_ELEMENTS = 1 << 16
# Nodes looked at to see that a group stays free of cycles; beyond, rather no fusion than planning
# without end.
_SEARCH = 4096
# Elements beyond which a row is shared out among work-items, if there are few rows.
LONG_ROW = 1 << 14


@dataclass
class RowGroup:
    """Nodes that one kernel computes row by row.

    rows, n    the domain; `outer` are its leading dims.
    kinds      what each member is, by position, in order.
    outputs    members whose values are written.
    """

    outer: tuple[int, ...]
    inner: tuple[int, ...]
    kinds: dict[int, str] = field(default_factory=dict)
    outputs: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return prod(self.outer)

    @property
    def n(self) -> int:
        """Elements of a row."""
        return prod(self.inner)

    @property
    def members(self) -> tuple[int, ...]:
        """The members, in order."""
        return tuple(sorted(self.kinds))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a value with an element for each element of the domain."""
        return self.outer + self.inner

    def is_row(self, shape: Sequence[int]) -> bool:
        """Whether a shape has one element a row, in order."""
        shape = tuple(shape)
        if self.rows == 1:
            return prod(shape) == 1
        return shape in (self.outer, self.outer + (1,) * len(self.inner))

    def walks(self, layout: Layout) -> bool:
        """Whether an operand can be read as it lies: with one stride along the row."""
        if layout.shape != self.outer + self.inner:
            return True
        _, (strides,) = collapse(self.inner, layout.strides[len(self.outer) :])
        return len(strides) < 2 and (not self.few_long_rows or strides in ((), (0,), (1,)))

    @property
    def few_long_rows(self) -> bool:
        """Whether one work-item a row would be too slow."""
        return self.n > LONG_ROW and self.rows < 4


class Grouping:
    """Grows groups in the order of the graph, keeping them free of cycles.

    groups    those grown so far; `group_of` tells a member's.
    reasons   for reductions in none, by position, why in words.
    """

    def __init__(
        self, graph: Graph, consumers: Sequence[Sequence[int]], uniform: Sequence[int | None]
    ) -> None:
        self.graph, self.consumers, self.uniform = graph, consumers, uniform
        self.group_of: dict[int, RowGroup] = {}
        self.groups: list[RowGroup] = []
        self.reasons: dict[int, str] = {}
        # By position: the first member of the groups that have members before and after it.
        self.begins = list(range(len(graph.nodes)))

    def elementwise(self, position: int) -> bool:
        op = self.graph.nodes[position].op
        return (
            op is not None
            and op.expr is not None
            and bool(self.graph.inputs[position])
            and self.uniform[position] is None
        )

    def _cut(self, position: int) -> int:
        """Return a position at or before this one that no group has members on both sides of.

        What stands before it depends on nothing that stands after it.
        """
        while self.begins[position] < position:
            position = self.begins[position]
        return position

    def free(self, group: RowGroup, added: dict[int, str]) -> bool:
        """Whether the group with more members still runs as one, between its inputs and outputs."""
        inside = group.kinds.keys() | added.keys()
        stack = [i for m in inside for i in self.graph.inputs[m] if i not in inside]
        cut, seen = self._cut(min(inside)), set(stack)
        while stack:
            position = stack.pop()
            if position < cut:
                continue
            before = self.group_of.get(position)
            for m in (position,) if before is None else before.kinds:
                if m in inside:
                    return False
                for i in self.graph.inputs[m]:
                    if i not in seen:
                        seen.add(i)
                        stack.append(i)
            if len(seen) > _SEARCH:
                return False
        return True

    def _kind(self, group: RowGroup, position: int) -> str | None:
        """Return what an elementwise node is in the group's domain."""
        shape = self.graph.nodes[position].spec.shape
        if shape == group.shape and group.n > 1:
            return FULL
        return ROW if group.is_row(shape) else None

    def producers(
        self,
        group: RowGroup,
        position: int,
        added: dict[int, str],
        allowed: Callable[[int], bool] = lambda position: True,
    ) -> None:
        """Add the elementwise work that a member needs, if `allowed` and not done elsewhere."""
        stack = list(self.graph.inputs[position])
        while stack:
            i = stack.pop()
            if i in added or i in self.group_of or not self.elementwise(i) or not allowed(i):
                continue
            kind = self._kind(group, i)
            if kind is None or len(group.kinds) + len(added) >= MAX_MEMBERS:
                continue
            trial = {**added, i: kind}
            if self.free(group, trial) and self.buffers(group, trial) <= MAX_BUFFERS:
                added[i] = kind
                stack.extend(self.graph.inputs[i])

    def buffers(self, group: RowGroup, added: dict[int, str]) -> int:
        kinds = {**group.kinds, **added}
        reads = {i for m in kinds for i in self.graph.inputs[m]} - kinds.keys()
        buffers = sum(self.uniform[i] is None for i in reads)
        return buffers + len(self._written(kinds))

    def _written(self, kinds: dict[int, str]) -> tuple[int, ...]:
        """Return the members whose values others read, directly or through a view."""
        written = set()
        for m in kinds:
            if self.graph.flags[m] != OUTPUT and all(c in kinds for c in self.consumers[m]):
                continue
            while kinds[m] == VIEW:
                m = self.graph.inputs[m][0]
            written.add(m)
        return tuple(sorted(written))

    def _repeats(self, group: RowGroup, position: int) -> str | None:
        """Return VIEW if a node shows a ROW value of the group as one, or along its rows."""
        node = self.graph.nodes[position]
        base = self.graph.inputs[position][0]
        if node.op is None or node.op.view is None or group.kinds.get(base) in (None, FULL):
            return None
        chain = [position]
        while group.kinds[base] == VIEW:
            chain.append(base)
            base = self.graph.inputs[base][0]
        spec = self.graph.nodes[base].spec
        layout = Layout(spec.shape, row_major(spec.shape), spec.dtype)
        for link in reversed(chain):
            of = self.graph.nodes[link]
            assert of.op is not None and of.op.view is not None
            viewed = of.op.view(layout, **of.attrs)
            if viewed is None or viewed[1] != 0:
                return None
            layout = Layout(of.spec.shape, viewed[0], spec.dtype)
        if group.is_row(layout.shape):
            wanted = row_major(layout.shape)
            sizes = layout.shape
        elif layout.shape == group.outer + group.inner:
            wanted = row_major(group.outer) + (0,) * len(group.inner)
            sizes = layout.shape
        else:
            return None
        same = all(n == 1 or s == w for n, s, w in zip(sizes, layout.strides, wanted, strict=True))
        return VIEW if same else None

    def visit(self, position: int) -> None:
        """Let a node join the group of one of its inputs that goes by rows, or begin one."""
        if position in self.group_of or self.uniform[position] is not None:
            return
        node, inputs = self.graph.nodes[position], self.graph.inputs[position]
        if not inputs or node.op is None:
            return
        candidates: list[RowGroup] = []
        for i in inputs:
            found = self.group_of.get(i)
            if found is not None and all(found is not c for c in candidates):
                candidates.append(found)
        for group in reversed(candidates):
            if group.few_long_rows or len(group.kinds) >= MAX_MEMBERS:
                continue
            kind = self._joining(group, position)
            if kind is None:
                continue
            added = {position: kind}
            if not self.free(group, added) or self.buffers(group, added) > MAX_BUFFERS:
                continue
            if kind in (FULL, FOLD):
                self.producers(group, position, added)
            self.add(group, added)
            return
        if node.op.fold:
            self._begin(position)

    def _joining(self, group: RowGroup, position: int) -> str | None:
        node = self.graph.nodes[position]
        assert node.op is not None
        if node.op.fold:
            dims = self._domain(position)
            return FOLD if dims == (group.outer, group.inner) else None
        if node.op.view is not None:
            return self._repeats(group, position)
        return self._kind(group, position) if self.elementwise(position) else None

    def _domain(self, position: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return leading and folded dims of a reduction, or None where those are not trailing.

        Dims of one element after the folded ones count as folded.
        """
        node = self.graph.nodes[position]
        shape = self.graph.nodes[self.graph.inputs[position][0]].spec.shape
        dims = node.attrs["dims"]
        first = min(dims, default=len(shape))
        after = first + len(dims)
        if sorted(dims) != list(range(first, after)) or prod(shape[after:]) != 1:
            return None
        return shape[:first], shape[first:]

    def _begin(self, position: int) -> None:
        domain = self._domain(position)
        if domain is None:
            return
        group = RowGroup(*domain)
        size = group.rows * group.n
        if not size or (group.n < _SHORT_ROW and size > _FEW_ELEMENTS):
            self.reasons[position] = f"rows of {group.n} elements are too short for a pass by rows"
            return
        dtype = self.graph.nodes[position].spec.dtype
        narrow = accumulator(dtype) is not dtype
        if group.few_long_rows and (group.rows > 1 or narrow):
            self.reasons[position] = f"too few rows ({group.rows}) of {group.n} elements"
            return
        added = {position: FOLD}
        self.producers(group, position, added)
        self.add(group, added)
        self.groups.append(group)

    def add(self, group: RowGroup, added: dict[int, str]) -> None:
        group.kinds.update(added)
        for m in added:
            self.group_of[m] = group
        first = min(group.kinds)
        for m in range(first + 1, max(group.kinds) + 1):
            self.begins[m] = min(self.begins[m], first)

    def finish(self) -> list[RowGroup]:
        """Return the groups worth it: a reduction, and work beside it."""
        kept = []
        for group in self.groups:
            group.outputs = self._written(group.kinds)
            if sum(kind in (FULL, FOLD) for kind in group.kinds.values()) > 1:
                kept.append(group)
                continue
            for m, kind in group.kinds.items():
                if kind == FOLD:
                    self.reasons[m] = "no elementwise work beside it"
        return kept


def phases(graph: Graph, group: RowGroup) -> dict[int, int]:
    """Return, for each member, the loop over the row after which (FULL: in which) it is known."""
    found: dict[int, int] = {}
    for m in group.members:
        known = [found[i] for i in graph.inputs[m] if i in found]
        found[m] = max(known, default=0) + (group.kinds[m] == FOLD)
    return found
