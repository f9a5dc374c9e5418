"""Calls: a recorded computation that is entered as one node for each result, and opened on demand.

What a layer, a loss or a gradient records depends only on the specs of its operands. It is recorded
once as a `Template`; from then on a `Call` of it stands in the graph, until somebody looks inside:
the engine does when it sees a structure for the first time, whoever reads `op` or `inputs` does.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from clnet.core import Node, Tensor, follow
from clnet.modes import modes, observing
from clnet.records import Op, Spec

# Templates that a function keeps; the oldest goes first.
_MAX_TEMPLATES = 256

P = ParamSpec("P")
R = TypeVar("R", Tensor, tuple[Tensor, Tensor])


class Template:
    """The nodes of a computation, by number.

    Numbered are first the inputs, then what is borrowed from other calls, then the steps.

    inputs    how many values are given.
    borrowed  (number of a call given, number of one of its steps): nodes inside of other calls.
    steps     (op, operands, attrs, spec); operands are numbers, or nodes that are the same in every
              call: scalars and constants.
    outputs   numbers of the results, all of them steps.
    specs     of the results.
    through   for each result the inputs that a gradient can flow to.
    """

    def __init__(
        self,
        inputs: int,
        borrowed: Sequence[tuple[int, int]],
        steps: Sequence[tuple[Op, tuple[Any, ...], dict[str, Any], Spec]],
        outputs: Sequence[int],
    ) -> None:
        self.inputs, self.borrowed = inputs, tuple(borrowed)
        self.steps, self.outputs = tuple(steps), tuple(outputs)
        self.first = inputs + len(self.borrowed)
        self.specs = [steps[number - self.first][3] for number in outputs]
        self.through = self._differentiable()
        self.constants = {i for _, given, _, _ in steps for i in given if isinstance(i, Node)}
        # By number of a step: which output it is.
        self.output_of = {number - self.first: k for k, number in enumerate(outputs)}

    def _differentiable(self) -> list[frozenset[int]]:
        """Return `through`."""
        through = [frozenset({i}) for i in range(self.inputs)]
        through += [frozenset()] * len(self.borrowed)
        for op, operands, _, spec in self.steps:
            flows = op.differentiable and spec.dtype.kind == "f"
            found = [through[i] for i in operands if type(i) is int] if flows else []
            through.append(frozenset().union(*found))
        return [through[number] for number in self.outputs]

    def enter(
        self, inputs: Sequence[Node], calls: Sequence[Call] = (), grad: bool = True
    ) -> list[Node]:
        """Add a call to the graph, and return its results."""
        call = Call(self, inputs, calls)
        device = None
        depth = 0
        for n in inputs:
            if n.device is not None:
                device = n.device
            if n.depth > depth:
                depth = n.depth
        depth += len(self.steps)
        grad = grad and modes.grad
        made: list[Node] = []
        for k, spec in enumerate(self.specs):
            node = CallNode.__new__(CallNode)
            node.reset(spec, device)
            node.call = call
            node.output = k
            node.depth = depth
            if grad:
                for i in self.through[k]:
                    if inputs[i].needs_grad:
                        node.needs_grad = True
                        break
            made.append(node)
        call.outputs = [weakref.ref(node) for node in made]
        return made


class Call:
    """One use of a template: its inputs, and its nodes once it is opened."""

    __slots__ = ("_nodes", "calls", "inputs", "outputs", "template")

    def __init__(self, template: Template, inputs: Sequence[Node], calls: Sequence[Call]) -> None:
        self.template = template
        self.inputs = tuple(inputs)
        self.calls = tuple(calls)
        self.outputs: list[weakref.ref[Node]] = []
        self._nodes: list[Node] | None = None

    def open(self) -> list[Node]:
        """Return the nodes of the steps; results that are still held become ordinary nodes."""
        if self._nodes is None:
            template = self.template
            known: list[Node] = list(self.inputs)
            known += [self.calls[c].open()[number] for c, number in template.borrowed]
            held = [reference() for reference in self.outputs]
            grad = any(n is not None and n.needs_grad for n in held)
            for number, (op, operands, attrs, spec) in enumerate(template.steps):
                inputs = tuple([known[i] if type(i) is int else i for i in operands])
                node = follow(op, inputs, attrs, spec, grad)
                node.inner = True
                k = template.output_of.get(number)
                own = held[k] if k is not None else None
                if own is not None:
                    if type(own) is CallNode:
                        own.__class__ = Node  # type: ignore[assignment]
                        own.op, own.attrs = op, attrs
                        own.inputs = inputs
                    node = own
                known.append(node)
            self._nodes = known[template.first :]
        return self._nodes


class CallNode(Node):
    """A result of a call that was not opened: looking at how it is computed opens it."""

    __slots__ = ()

    def _opened(self, name: str) -> Any:
        call = self.call
        call.open()
        return getattr(self, name)

    def _let_go(self, inputs: tuple[Node, ...]) -> None:
        # Only ever given up: a computed value that no gradient flows through any more.
        assert not inputs
        template = self.call.template
        number = template.outputs[self.output] - template.first
        op, _, attrs, _ = template.steps[number]
        self.__class__ = Node  # type: ignore[assignment]
        self.call = None
        self.op, self.attrs, self.inputs = op, attrs, ()

    op = property(lambda self: self._opened("op"))
    attrs = property(lambda self: self._opened("attrs"))
    inputs = property(lambda self: self._opened("inputs"), _let_go)


def template_of(
    numbers: Mapping[Node, int],
    added: Sequence[Node],
    results: Sequence[Node],
    inside: Mapping[Node, tuple[int, int]] | None = None,
    constants: Container[Node] | None = None,
) -> Template | None:
    """Return what was recorded on numbered nodes as a template; None if it cannot be one.

    `inside`: nodes inside of other calls, as in `Template.borrowed`. Values from elsewhere must be
    scalars or, if they are given, among the constants. Every result has to be a recorded node.
    """
    borrowed: dict[tuple[int, int], int] = {}
    made = set(added)
    for node in added:
        if node.buffer is not None and node.op is not None and node.op.view is None:
            return None  # a long recording was computed half-way
        for i in node.inputs:
            if i in numbers or i in made or i.value is not None:
                continue
            if inside is not None and i in inside:
                borrowed.setdefault(inside[i], len(numbers) + len(borrowed))
            elif i.buffer is None or (constants is not None and i not in constants):
                return None
    index = dict(numbers)
    if inside is not None:
        index.update((n, borrowed[at]) for n, at in inside.items() if at in borrowed)
    first = len(numbers) + len(borrowed)
    steps = []
    for number, node in enumerate(added, first):
        operands = tuple([index.get(i, i) for i in node.inputs])
        steps.append((node.op, operands, node.attrs, node.spec))
        index[node] = number
    outputs = [index.get(node, 0) for node in results]
    if len(set(outputs)) < len(outputs) or any(number < first for number in outputs):
        return None
    return Template(len(numbers), list(borrowed), cast(Any, steps), outputs)


def composite(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of tensors and settings record itself once for each kind of operands.

    Its result is a tensor or a tuple of tensors.

    What it records may depend on the operands' specs and on the settings only. It is called as it
    is where somebody watches the recording, an operand is a number, or a setting is a list.
    """
    known: dict[Any, Template | None] = {}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if modes.observers or modes.recorder is not None:
            return function(*args, **kwargs)
        nodes: list[Node] = []
        parts: list[Any] = []
        for a in args:
            if isinstance(a, Tensor):
                node = a.node
                if node.value is not None or node in nodes:
                    return function(*args, **kwargs)
                nodes.append(node)
                parts.append(node.spec)
                parts.append(node.device)
            else:
                parts.append(type(a))
                parts.append(a)
        for name, a in kwargs.items():
            if isinstance(a, Tensor):
                return function(*args, **kwargs)
            parts.append((name, type(a), a))
        key = tuple(parts)
        try:
            template = known.get(key)
        except TypeError:  # a list, as sizes may be given
            return function(*args, **kwargs)
        if template is None:
            if key in known:
                return function(*args, **kwargs)
            added: list[Node] = []
            with observing(added.append):
                result: Any = function(*args, **kwargs)
            numbers = {node: number for number, node in enumerate(nodes)}
            results = result if isinstance(result, tuple) else (result,)
            template = known[key] = template_of(numbers, added, [t.node for t in results])
            if len(known) > _MAX_TEMPLATES:
                del known[next(iter(known))]
            if template is None:
                return cast(R, result)
        made = [Tensor(node, view=False) for node in template.enter(nodes)]
        return cast(R, made[0] if len(made) == 1 else tuple(made))

    return call
