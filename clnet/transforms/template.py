"""Gradients of a graph whose structure was seen before: one call of a template of its nodes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from clnet.calls import Call, CallNode, Template, template_of
from clnet.core import Node, Tensor
from clnet.modes import modes, observing

# Templates kept; the least recently used goes first.
_MAX_TEMPLATES = 256
_templates: OrderedDict[Any, _Gradient | None] = OrderedDict()


class _Gradient(NamedTuple):
    """What a backward pass adds: a template, and of which forward nodes and calls, by number.

    ends    numbers of the forward nodes whose gradients are its results.
    """

    template: Template
    nodes: list[int]
    calls: list[int]
    ends: list[int]

    def enter(self, forward: Sequence[Node], calls: Sequence[Call]) -> dict[int, Tensor]:
        """Add the call; return the gradients by identity of their forward nodes."""
        made = self.template.enter(
            [forward[i] for i in self.nodes], [calls[i] for i in self.calls], grad=False
        )
        ends = self.ends
        return {id(forward[ends[k]]): Tensor(d, view=False) for k, d in enumerate(made)}


class Forward:
    """The nodes that a gradient flows along and their operands, numbered, and the key of it all.

    order     the nodes that the gradient of `root` flows through, inputs first.
    usable    whether the same structure gives the same gradients: False with hooks and the like;
              `order` may end early then.
    whole     whether all that is not computed yet is in `order`.
    entered   the template of the gradients, once it was used.
    """

    def __init__(self, root: Node, seed: Node | None) -> None:
        self.numbers: dict[Node, int] = {}
        self.calls: dict[Call, int] = {}
        self.order: list[Node] = []
        self.usable = False
        self.whole = root.buffer is None and seed is None
        self.entered: Template | None = None
        numbers, calls, order = self.numbers, self.calls, self.order
        parts: list[Any] = []
        stack = [root]
        while stack:
            node = stack[-1]
            if node in numbers:
                stack.pop()
                continue
            if node.leaf or not node.needs_grad:
                stack.pop()
                numbers[node] = len(numbers)
                parts.append((node.spec, node.needs_grad, node.value is None, node.leaf))
                if node.leaf:
                    if node.hooks or node.retain or node.released:
                        return
                    order.append(node)
                if node.buffer is None and node.value is None:
                    self.whole = False
                continue
            call = node.call if type(node) is CallNode else None
            given = node.inputs if call is None else call.inputs
            waiting = False
            for n in given:
                if n not in numbers:
                    stack.append(n)
                    waiting = True
            if waiting:
                continue
            stack.pop()
            if node.hooks or node.retain or node.released:
                return
            if call is None and getattr(node.op, "personal", False):
                return
            inputs = tuple([numbers[n] for n in given])
            numbers[node] = len(numbers)
            order.append(node)
            if call is None:
                attrs = node.attrs
                parts.append((node.op, tuple(attrs.items()) if attrs else (), node.spec, inputs))
            else:
                number = calls.setdefault(call, len(calls))
                parts.append((call.template, number, node.output, inputs))
        if seed is not None and seed not in numbers:
            numbers[seed] = len(numbers)
            parts.append((seed.spec, seed.needs_grad, seed.value is None, seed.leaf))
        self.key = (numbers[root], None if seed is None else numbers[seed], *parts)
        self.usable = True

    def gradient(self, added: Sequence[Node], ended: dict[int, Tensor]) -> _Gradient | None:
        """Return what was recorded on these nodes, for others of the same key."""
        inside: dict[Node, tuple[int, int]] = {}
        constants: set[Node] = set()
        calls = list(self.calls)
        for number, call in enumerate(calls):
            constants |= call.template.constants
            for step, node in enumerate(call.open()):
                if node not in self.numbers:
                    inside[node] = (number, step)
        read = {i for node in added for i in node.inputs}
        used = sorted({inside[i][0] for i in read if i in inside})
        read |= {i for number in used for i in calls[number].inputs}
        given = [node for node in self.numbers if node in read]
        inside = {node: (used.index(n), step) for node, (n, step) in inside.items() if n in used}
        numbers = {node: number for number, node in enumerate(given)}
        results = [d.node for d in ended.values()]
        made = template_of(numbers, added, results, inside, constants)
        whose = {id(node): number for node, number in self.numbers.items()}
        if made is None or not all(key in whose for key in ended):
            return None
        ends = [whose[key] for key in ended]
        return _Gradient(made, [self.numbers[node] for node in given], used, ends)


def templated(forward: Forward, flow: Callable[[], dict[int, Tensor]]) -> dict[int, Tensor]:
    """Return the gradients that `flow` would record, from a template if there is one.

    The same structure gives the same nodes, unless there are hooks, observers or users' own rules.
    """
    if not forward.usable or modes.observers or modes.recorder is not None:
        return flow()
    key = forward.key
    gradient = _templates.get(key)
    if gradient is None:
        if key in _templates:
            return flow()
        added: list[Node] = []
        with observing(added.append):
            ended = flow()
        gradient = _templates[key] = forward.gradient(added, ended)
        if len(_templates) > _MAX_TEMPLATES:
            _templates.popitem(last=False)
        if gradient is None:
            return ended
    else:
        _templates.move_to_end(key)
    forward.entered = gradient.template
    return gradient.enter(list(forward.numbers), list(forward.calls))
