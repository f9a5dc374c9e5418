"""From pending nodes to a linear order and the key of its structure, without recursion."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

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
    """

    __slots__ = ("flags", "inputs", "key", "nodes")

    def __init__(self, roots: Sequence[Node]) -> None:
        nodes: list[Node] = []
        all_inputs: list[tuple[int, ...]] = []
        flags: list[int] = []
        index: dict[Node, int] = {}
        wanted = set(roots)
        key: list[Any] = []
        stack = list(reversed(roots))
        while stack:
            node = stack[-1]
            if node in index:
                stack.pop()
                continue
            op = node.op
            pending = node.buffer is None and op is not None
            if pending:
                waiting = False
                for n in reversed(node.inputs):
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
                key.append((node.spec, node.strides, flag))
                continue
            if node in wanted or node.holder() is not None:
                flag = OUTPUT
            else:
                flag = KEEP if node.needs_grad and not node.released else INTERNAL
            positions = tuple([index[n] for n in node.inputs])
            all_inputs.append(positions)
            flags.append(flag)
            key.append((op, tuple(node.attrs.items()), node.spec, positions, flag))
            if node.group is not None:
                # A loss and its gradients share work: computing one computes all that are held.
                for reference in node.group:
                    member = reference()
                    if (
                        member is not None
                        and member.buffer is None
                        and member not in wanted
                        and member.holder() is not None
                    ):
                        wanted.add(member)
                        stack.insert(0, member)
        self.nodes, self.inputs, self.flags = nodes, all_inputs, flags
        self.key = tuple(key)


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
