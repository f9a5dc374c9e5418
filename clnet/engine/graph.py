"""From pending nodes to a linear order and the key of its structure, without recursion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clnet.core import Node

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
        self.nodes: list[Node] = []
        self.inputs: list[tuple[int, ...]] = []
        self.flags: list[int] = []
        index: dict[int, int] = {}
        wanted = {id(n) for n in roots}
        key: list[Any] = []
        stack = list(reversed(roots))
        while stack:
            node = stack[-1]
            if id(node) in index:
                stack.pop()
                continue
            pending = node.buffer is None and node.op is not None
            if pending:
                waiting = [n for n in node.inputs if id(n) not in index]
                if waiting:
                    stack.extend(reversed(waiting))
                    continue
            stack.pop()
            index[id(node)] = len(self.nodes)
            self.nodes.append(node)
            if not pending:
                self.inputs.append(())
                # A scalar that is asked for itself is written out, like any output.
                flag = OUTPUT if node.buffer is None and id(node) in wanted else INTERNAL
                self.flags.append(flag)
                key.append((node.spec, node.strides, flag))
                continue
            positions = tuple(index[id(n)] for n in node.inputs)
            if id(node) in wanted or node.holder() is not None:
                flag = OUTPUT
            else:
                flag = KEEP if node.needs_grad and not node.released else INTERNAL
            self.inputs.append(positions)
            self.flags.append(flag)
            attrs = tuple(node.attrs.items()) if node.attrs else None
            key.append((node.op, attrs, node.spec, positions, flag))
            if node.group is not None:
                # A loss and its gradients share work: computing one computes all that are held.
                for member in node.group:
                    if (
                        member.buffer is None
                        and id(member) not in wanted
                        and member.holder() is not None
                    ):
                        wanted.add(id(member))
                        stack.insert(0, member)
        self.key = tuple(key)
