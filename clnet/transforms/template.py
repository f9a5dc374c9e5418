"""Gradients of a graph whose structure was seen before, from a template instead of the rules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from clnet.core import Node, Tensor, enter
from clnet.modes import modes, observing

# Templates kept; the least recently used goes first.
_MAX_TEMPLATES = 256
_templates: OrderedDict[Any, _Template | None] = OrderedDict()


class _Template:
    """The nodes that a backward pass adds.

    steps   (op, inputs, attrs, spec) of each node; inputs are numbers of forward nodes, then of
            nodes added before, or nodes themselves: scalars that the rules wrote down.
    ends    (number of a forward node, number of its gradient).
    """

    def __init__(
        self, numbers: dict[Node, int], added: Sequence[Node], ended: dict[int, Tensor]
    ) -> None:
        self.steps: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        index = dict(numbers)
        self.usable = True
        for node in added:
            inputs: list[Any] = []
            for i in node.inputs:
                if i in index:
                    inputs.append(index[i])
                elif i.value is not None:
                    inputs.append(i)
                else:
                    self.usable = False  # a rule brought a value of its own
            self.steps.append((node.op, tuple(inputs), node.attrs, node.spec))
            index[node] = len(index)
        by_id = {id(node): number for node, number in numbers.items()}
        self.ends = []
        for key, d in ended.items():
            if d.node in index:
                self.ends.append((by_id[key], index[d.node]))
            else:
                self.usable = False

    def instantiate(self, forward: Sequence[Node]) -> dict[int, Tensor]:
        """Add the nodes anew; return the gradients by identity of their forward nodes."""
        known = list(forward)
        for op, inputs, attrs, spec in self.steps:
            given = tuple([known[i] if type(i) is int else i for i in inputs])
            known.append(enter(op, given, attrs, spec))
        return {id(known[node]): Tensor(known[d], view=False) for node, d in self.ends}


def _key(order: Sequence[Node], root: Node) -> tuple[Any, dict[Node, int]] | None:
    """Return what gradients depend on, and the numbers of the forward nodes it speaks of."""
    numbers: dict[Node, int] = {}
    parts: list[Any] = []
    for node in order:
        if node.hooks or node.retain or node.released or getattr(node.op, "personal", False):
            return None
        if node.leaf:
            if node not in numbers:
                numbers[node] = len(numbers)
                parts.append((node.spec, True))
            continue
        inputs = []
        for i in node.inputs:
            number = numbers.get(i)
            if number is None:
                number = numbers[i] = len(numbers)
                parts.append((i.spec, i.needs_grad, i.value is None, i.leaf))
            inputs.append(number)
        numbers[node] = len(numbers)
        parts.append((node.op, tuple(node.attrs.items()), node.spec, tuple(inputs)))
    return (numbers[root], *parts), numbers


def templated(
    order: Sequence[Node], root: Node, flow: Callable[[], dict[int, Tensor]]
) -> dict[int, Tensor]:
    """Return the gradients that `flow` would record, from a template if there is one.

    `order`: the nodes that a gradient flows through from `root`, inputs first, seeded by 1. The
    same structure gives the same nodes, unless there are hooks, observers or users' own rules.
    """
    if modes.observers or modes.recorder is not None:
        return flow()
    found = _key(order, root)
    if found is None:
        return flow()
    key, numbers = found
    template = _templates.get(key)
    if template is not None:
        _templates.move_to_end(key)
        return template.instantiate(list(numbers))
    if key in _templates:
        return flow()
    added: list[Node] = []
    with observing(added.append):
        ended = flow()
    made = _Template(numbers, added, ended)
    _templates[key] = made if made.usable else None
    if len(_templates) > _MAX_TEMPLATES:
        _templates.popitem(last=False)
    return ended
