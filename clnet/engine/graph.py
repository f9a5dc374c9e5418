"""From pending nodes to a linear order and the key of its structure, without recursion."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from typing import Any

from clnet.calls import Call, CallNode
from clnet.core import Node
from clnet.records import Layout, row_major

# How long a node's value is kept: only inside the plan; if it is written out anyway, because a
# later `backward` may want it; or in any case, because a tensor holds it.
INTERNAL, KEEP, OUTPUT = 0, 1, 2


class Graph:
    """The nodes that an evaluation has to look at, inputs first, and the key of their structure.

    nodes       in topological order; computed nodes and scalars are leaves.
    inputs      for each node, the positions of its inputs (leaves: none).
    flags       for each node INTERNAL, KEEP or OUTPUT.
    key         equal for graphs that one plan serves: ops, attributes, shapes, dtypes, strides,
                wiring, flags; not the values of scalars, nor where in its buffer a leaf begins.
    closed      whether there are calls in it that nobody looked into.
    """

    __slots__ = ("closed", "flags", "inputs", "key", "nodes")

    def __init__(self, roots: Sequence[Node]) -> None:
        nodes: list[Node] = []
        all_inputs: list[tuple[int, ...]] = []
        flags: list[int] = []
        index: dict[Node, int] = {}
        calls: dict[Call, tuple[int, tuple[int, ...]]] = {}
        wanted = set(roots)
        asked: set[int] = set()
        # Fields of all nodes one after another; the type of a node's first tells how many it has.
        key: list[Any] = []
        stack = list(reversed(roots))

        def ask(members: list[weakref.ref[Node]]) -> None:
            asked.add(id(members))
            for reference in members:
                n = reference()
                if (
                    n is not None
                    and n.buffer is None
                    and n not in wanted
                    and n.holder() is not None
                ):
                    wanted.add(n)
                    stack.insert(0, n)

        while stack:
            node = stack[-1]
            if node in index:
                stack.pop()
                continue
            call: Call | None = None
            given: tuple[Node, ...] = ()
            pending = False
            if node.buffer is None:
                if type(node) is CallNode:
                    call = node.call
                    assert call is not None
                    given, pending = call.inputs, True
                elif node.op is not None:
                    given, pending = node.inputs, True
                waiting = False
                for n in reversed(given):
                    if n not in index:
                        stack.append(n)
                        waiting = True
                if waiting:
                    continue
            stack.pop()
            index[node] = len(nodes)
            nodes.append(node)
            if not pending:
                # A scalar that is asked for itself is written out, like any output.
                flag = OUTPUT if node.buffer is None and node in wanted else INTERNAL
                all_inputs.append(())
                flags.append(flag)
                key += (node.spec, node.strides, flag)
                continue
            holder = node.owner() if node.owner is not None else None
            if (holder is not None and holder._node is node) or node in wanted:
                flag = OUTPUT
            else:
                keep = node.needs_grad and not node.released and not node.inner
                flag = KEEP if keep else INTERNAL
            flags.append(flag)
            if call is None:
                positions = tuple([index[n] for n in given])
                attrs = node.attrs
                key += (node.op, tuple(attrs.items()) if attrs else (), node.spec, positions, flag)
            else:
                entered = calls.get(call)
                if entered is None:
                    positions = tuple([index[n] for n in given])
                    entered = calls[call] = (len(calls), positions)
                    key += (call.template, positions)
                    if len(call.outputs) > 1:
                        ask(call.outputs)
                number, positions = entered
                key += (number, node.output, flag)
            all_inputs.append(positions)
            if node.group is not None and id(node.group) not in asked:
                # A loss and its gradients share work: computing one computes all that are held.
                ask(node.group)
        self.nodes, self.inputs, self.flags = nodes, all_inputs, flags
        self.key = tuple(key)
        self.closed = bool(calls)

    @classmethod
    def of_group(cls, roots: Sequence[Node]) -> Graph | None:
        """Return the graph of a loss and its gradients without walking it, if the roots are of one.

        Its nodes are those that the group knows, in its order; it has no inputs until it is opened.
        """
        group = roots[0].group
        if group is None or group.structure is None:
            return None
        for node in roots:
            owner = node.owner
            holder = owner() if owner is not None else None
            if node.group is not group or holder is None or holder._node is not node:
                return None
        nodes: list[Any] = [*group.forward, *[reference() for reference in group]]
        # Which of the gradients are there; first is the loss.
        gradients = [n.output for n in nodes[len(group.forward) + 1 :] if n is not None]
        key: list[Any] = [group.structure, *gradients]
        flags = []
        for node in nodes:
            flag = INTERNAL
            if node is None:
                key.append(None)
            elif node.buffer is not None:
                key.append(node.strides)
            elif node.value is None:
                owner = node.owner
                holder = owner() if owner is not None else None
                if holder is not None and holder._node is node:
                    flag = OUTPUT
                elif node.needs_grad and not node.released and not node.inner:
                    flag = KEEP
                key.append(flag)
                if type(node) is not CallNode and node.call is not None:
                    return None  # somebody looked inside
            flags.append(flag)
        self = cls.__new__(cls)
        self.nodes, self.inputs, self.flags = nodes, [], flags
        self.key, self.closed = tuple(key), True
        return self

    def opened(self) -> tuple[Graph, list[Any] | None, bool]:
        """Return the graph with its calls opened, and where its nodes are found in this one.

        That is for each node its position here, or the node itself: a constant of a call; None for
        nodes inside of calls, which get no value. Then, whether that holds for any graph of this
        key. Without calls this is the graph itself.
        """
        if not self.closed:
            return self, None, True
        constants: set[Node] = set()
        for node in self.nodes:
            if node is not None and node.buffer is None and type(node) is CallNode:
                call = node.call
                for used in (call, *call.calls):
                    constants |= used.template.constants
                call.open()
        pairs = zip(self.nodes, self.flags, strict=True)
        full = Graph([node for node, flag in pairs if flag == OUTPUT])
        index = {node: position for position, node in enumerate(self.nodes)}
        places: list[Any] = []
        reusable = True
        for position, node in enumerate(full.nodes):
            place: Any = index.get(node)
            if place is None and not full.inputs[position]:
                reusable = reusable and node in constants
                place = node
            elif place is None:
                full.flags[position] = INTERNAL
            places.append(place)
        return full, places, reusable


def without_aliases(graph: Graph) -> Graph:
    """Return the graph with inputs that are another value under a new name replaced by that value.

    Those names keep their places; a plan leaves out the ones that nothing asks for.
    """
    real = list(range(len(graph.nodes)))
    inputs = []
    for position, node in enumerate(graph.nodes):
        given = tuple([real[i] for i in graph.inputs[position]])
        inputs.append(given)
        op = node.op
        if not given or op is None or op.view is None:
            continue
        base = graph.nodes[given[0]].spec
        strides = row_major(base.shape)
        layout = Layout(base.shape, strides, base.dtype)
        if node.spec == base and op.view(layout, **node.attrs) == (strides, 0):
            real[position] = given[0]
    result = copy.copy(graph)
    result.inputs = inputs
    return result
