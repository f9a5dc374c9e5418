"""A recorded computation bound to where its inputs come from, replayed without recording."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from clnet.core import Node, Tensor
from clnet.device import profiling
from clnet.engine.graph import Graph
from clnet.engine.program import Bound, Held, Launches, Program

# References to a node, and to its buffer, that a tensor's value has while nobody else holds it
# (CPython counts those of the loop and of the call that asks as well).
_NODE_REFERENCES = 3
_BUFFER_REFERENCES = 2
# Programs with which one is joined.
_MAX_JOINS = 16


def _unaliased(node: Node) -> Node:
    """Return the node whose value this is, seen through views that show all of it as it is."""
    while node.buffer is None and node.op is not None and node.op.view is not None:
        base = node.inputs[0]
        if base.spec != node.spec or base.buffer is not None or base.value is not None:
            break
        node = base
    return node


class Captured:
    """The program of a recorded computation.

    results   nodes whose values are computed.
    sources   leaves of the computation that differ from run to run, each with the number of the
              tensor, among those given to `run`, whose value it is.
    updates   by number of a result: the number of the tensor whose value it replaces, in place
              where nobody else holds that value.
    """

    def __init__(
        self,
        engine: Any,
        on: Any,
        results: Sequence[Node],
        sources: Mapping[Node, int],
        updates: Mapping[int, int],
    ) -> None:
        graph = Graph(results).opened()[0]
        index = {node: position for position, node in enumerate(graph.nodes)}
        leaf_of = {number: node for node, number in sources.items()}
        donated = {
            index[leaf_of[tensor]]: index[_unaliased(results[result])]
            for result, tensor in updates.items()
            if tensor in leaf_of and leaf_of[tensor] in index
        }
        self._engine = engine
        self._device = on
        self._program = engine.program(graph, on, donated)
        self._program.expect_replays()
        plan = self._program.plan
        # Of the recording only scalars and constants are kept, and places for what differs.
        self._nodes: list[Any] = [
            node if not given and node not in sources else None
            for node, given in zip(graph.nodes, graph.inputs, strict=True)
        ]
        self._sources: list[tuple[Node, int]] = []
        self._expected = []
        slots = dict(plan.leaves)
        overwritten = {leaf for _, leaf, _, _ in plan.updates}
        self._overwritten = []
        for node, number in sources.items():
            if node in index:
                position = index[node]
                self._nodes[position] = stand = Node(node.spec)
                self._sources.append((stand, number))
                self._expected.append((number, node.spec, node.strides))
                if slots[position] in overwritten:
                    self._overwritten.append((number, slots[position]))
        lies = {position: rest for position, *rest in plan.results}
        self._results = [(node.spec, *lies[index[node]]) for node in results]
        self._updates = dict(updates)
        numbers = {number for number, _ in self._overwritten}
        self._only_overwrites = all(
            self._updates.get(result) in numbers for result in range(len(results))
        )
        self._joins: dict[Program, Launches | None] = {}

    def _forget(self) -> None:
        for node, _ in self._sources:
            node.buffer = None

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether the tensors lie in memory as those of the recording did."""
        for number, spec, strides in self._expected:
            node = tensors[number]._node
            if node.strides != strides or node.spec != spec:
                return False
        return True

    def _joined(self, held: Held) -> Launches | None:
        """Return the launches of `held` and of this as one list, if they were often run so."""
        first = held.program
        if not held.waits or profiling.active is not None:
            return None
        joined = self._joins.get(first)
        if joined is None and (
            first.may_have_been_often or (first.often and first not in self._joins)
        ):
            joined = self._program.joined(first, seen=not first.often)
            if joined is not None or first.often:
                self._joins[first] = joined
            if len(self._joins) > _MAX_JOINS:
                del self._joins[next(iter(self._joins))]
        return joined

    def _shared(self, tensors: Sequence[Tensor], held: Held | None) -> set[int]:
        """Return the slots of leaves, to be overwritten, that somebody else holds."""
        shared: set[int] = set()
        if not self._overwritten:
            return shared
        reading: set[int] = set() if held is None else held.leaves()
        may_overwrite = self._device.may_overwrite
        for number, slot in self._overwritten:
            node = tensors[number]._node
            references = _BUFFER_REFERENCES + (id(node.buffer) in reading)
            if (
                sys.getrefcount(node) > _NODE_REFERENCES
                or sys.getrefcount(node.buffer) > references
                or not may_overwrite(node.buffer)
            ):
                shared.add(slot)
        return shared

    def run(self, tensors: Sequence[Tensor], held: Held | None = None) -> list[Node]:
        """Enqueue the computation on the values of tensors, which are evaluated, and update them.

        `held` is what has to be launched before; it may become one launch with the first of these.
        Returns the results that update none.
        """
        with self._engine.lock:
            shared = self._shared(tensors, held)
            joined = None if held is None or shared else self._joined(held)
            if joined is None and held is not None:
                held.launch()
            for leaf, number in self._sources:
                node = tensors[number]._node
                leaf.buffer, leaf.offset = node.buffer, node.offset
            try:
                with profiling.phase("enqueue"):
                    bound = self._program.bind(self._nodes, shared)
                    if joined is None or held is None:
                        self._program.launch(bound)
                    else:
                        held.launch_joined(joined, bound)
            finally:
                self._forget()
        return self._give(tensors, shared, bound)

    def _give(self, tensors: Sequence[Tensor], shared: set[int], bound: Bound) -> list[Node]:
        """Give the results to the tensors that they update; return the others."""
        if self._only_overwrites and not shared:
            for number, _ in self._overwritten:
                tensors[number]._version += 1
            return []
        kept = {number for number, slot in self._overwritten if slot not in shared}
        others = []
        for result, (spec, slot, strides, offset) in enumerate(self._results):
            tensor = self._updates.get(result)
            if tensor is not None and tensor in kept:
                tensors[tensor]._version += 1
                continue
            node = Node(spec, device=self._device, buffer=bound.buffers[slot], strides=strides)
            node.offset = bound.offsets[slot] + offset
            if tensor is None:
                others.append(node)
            elif tensors[tensor]._parent is None:
                tensors[tensor].replace(node)
            else:
                tensors[tensor].assign(Tensor(node, view=False))
        return others
