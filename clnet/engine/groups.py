"""Which nodes one kernel computes, and in which order those units run."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clnet.engine.graph import OUTPUT, Graph

# Limits that keep a fused kernel within every device's registers and 1 KB of arguments: a result
# or an operand in a buffer takes up to 80 bytes (rank 8), a scalar up to 8.
MAX_OPS = 32
MAX_BUFFERS = 12
_SCALARS_A_BUFFER = 8


@dataclass(frozen=True)
class Group:
    """Elementwise nodes of one shape that one kernel computes.

    members in order, root last; `outputs`, of the members, are written to memory.
    """

    members: tuple[int, ...]
    outputs: tuple[int, ...]


def consumers_of(graph: Graph) -> list[list[int]]:
    """Return, for each node, the positions of the nodes that read it."""
    consumers: list[list[int]] = [[] for _ in graph.nodes]
    for position, inputs in enumerate(graph.inputs):
        for i in dict.fromkeys(inputs):
            consumers[i].append(position)
    return consumers


class _Condensed:
    """The graph whose nodes are units: which of them another one's result reaches."""

    def __init__(self, count: int) -> None:
        self.unit = list(range(count))
        # Bit u of reach[v]: unit v must run before unit u.
        self.reach: dict[int, int] = {}

    def add(self, position: int, consumers: Iterable[int]) -> None:
        """Enter a node as a unit of its own, whose consumers are all entered already."""
        reach = 0
        for c in consumers:
            u = self.unit[c]
            reach |= self.reach[u] | (1 << u)
        self.reach[position] = reach

    def joins(self, root: int, others: Iterable[int]) -> bool:
        """Whether a node that also feeds `others` can be part of unit `root` without a cycle."""
        bit = 1 << root
        return all(not self.reach[self.unit[o]] & bit for o in others)

    def join(self, position: int, root: int, others: Iterable[int]) -> None:
        """Make a node part of unit `root`."""
        self.unit[position] = root
        gained = 0
        for o in others:
            u = self.unit[o]
            gained |= self.reach[u] | (1 << u)
        if gained & ~self.reach[root]:
            bit = 1 << root
            for u, reach in self.reach.items():
                if u == root or reach & bit:
                    self.reach[u] = reach | gained


def elementwise_groups(
    graph: Graph,
    consumers: Sequence[Sequence[int]],
    taken: Sequence[Sequence[int]],
    fusable: Callable[[int], bool],
    uniform: Sequence[int | None],
) -> tuple[list[Group], dict[int, str]]:
    """Return the fused groups of elementwise nodes, and by last member why one ends before others.

    A node joins the kernel of a consumer of its own shape. Where others read it too, or a tensor
    holds it, that kernel writes it out as well, unless they would have to run before the rest of
    the kernel can. `taken` are the units that other kinds of fusion have formed already.
    """
    shapes = [node.spec.shape for node in graph.nodes]
    condensed = _Condensed(len(graph.nodes))
    units = {max(unit): unit for unit in taken}
    inside = {m for unit in taken for m in unit}
    alone = [(position,) for position in range(len(graph.nodes)) if position not in inside]
    members: dict[int, list[int]] = {}
    outputs: dict[int, list[int]] = {}
    operands: dict[int, set[int]] = {}
    reasons: dict[int, str] = {}
    # Whatever reads a unit is entered before it, so that what the unit reaches is known.
    blocks = [*map(tuple, units.values()), *alone]
    for number in reversed(schedule(graph, blocks, lambda unit: False)):
        position = max(blocks[number])
        readers = consumers[position]
        if position in units:
            for m in units[position]:
                condensed.unit[m] = position
            fed = {r for m in units[position] for r in consumers[m]} - set(units[position])
            condensed.add(position, fed)
            continue
        if not fusable(position):
            condensed.add(position, readers)
            continue
        reads = set(graph.inputs[position])
        kept = graph.flags[position] == OUTPUT
        reason = ""
        for root in dict.fromkeys(condensed.unit[c] for c in readers):
            if root not in members or shapes[root] != shapes[position]:
                continue
            others = [c for c in readers if condensed.unit[c] != root]
            written = kept or bool(others)
            joined = (operands[root] - {position}) | reads
            scalars = sum(uniform[i] is not None for i in joined)
            buffers = len(joined) - scalars + len(outputs[root]) + written
            if (
                len(members[root]) >= MAX_OPS
                or buffers > MAX_BUFFERS - scalars // _SCALARS_A_BUFFER
            ):
                reason = f"the next one has {len(members[root])} ops and {buffers} buffers already"
                continue
            if others and not condensed.joins(root, others):
                reason = "others need its value before the next one can run"
                continue
            condensed.join(position, root, others)
            members[root].append(position)
            operands[root] = joined
            if written:
                outputs[root].append(position)
            break
        else:
            reason = reason or _view_between(graph, readers, consumers, fusable)
            if reason:
                reasons[position] = reason
            condensed.add(position, readers)
            members[position] = [position]
            outputs[position] = [position]
            operands[position] = reads
    groups = [
        Group(tuple(members[root][::-1]), tuple(outputs[root][::-1])) for root in sorted(members)
    ]
    return groups, reasons


def _view_between(
    graph: Graph,
    readers: Sequence[int],
    consumers: Sequence[Sequence[int]],
    fusable: Callable[[int], bool],
) -> str:
    """Say through which view elementwise work reads a value, if it does."""
    for r in readers:
        op = graph.nodes[r].op
        if op is not None and op.view is not None and any(fusable(c) for c in consumers[r]):
            return f"what follows reads it through {op.name}"
    return ""


def schedule(
    graph: Graph, units: Sequence[tuple[int, ...]], last: Callable[[tuple[int, ...]], bool]
) -> list[int]:
    """Return the order in which units run: inputs first, recorded order else.

    Units for which `last` holds run as late as they can: they overwrite what others read.
    """
    unit_of = {m: number for number, unit in enumerate(units) for m in unit}
    waiting = [0] * len(units)
    feeds: list[set[int]] = [set() for _ in units]
    for number, unit in enumerate(units):
        before = {unit_of[i] for m in unit for i in graph.inputs[m] if i in unit_of} - {number}
        waiting[number] = len(before)
        for b in before:
            feeds[b].add(number)
    keys = [(last(unit), max(unit), number) for number, unit in enumerate(units)]
    ready = [key for key in keys if not waiting[key[2]]]
    heapq.heapify(ready)
    order = []
    while ready:
        number = heapq.heappop(ready)[2]
        order.append(number)
        for f in feeds[number]:
            waiting[f] -= 1
            if not waiting[f]:
                heapq.heappush(ready, keys[f])
    assert len(order) == len(units), "units of the plan depend on each other"
    return order
