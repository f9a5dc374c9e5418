"""Functions recorded once, and applied to other tensors of the same shapes and dtypes.

A cell of a recurrence, or a part of a net that is to be computed again, is a function of tensors
that also reads what it closes over: parameters, encoded sentences. It is run once, watched; what it
recorded becomes a template, whose inputs are its arguments and all that it read besides.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from clnet.calls import Template, template_of
from clnet.core import Node, Tensor, record, scalar_node
from clnet.modes import modes, observing
from clnet.ops.random import rewind, used_blocks
from clnet.records import OPS
from clnet.transforms.tree import tree_leaves, tree_map, tree_rebuild

# Templates kept, so that equal recordings are one structure to the engine; the oldest go first.
_MAX_TEMPLATES = 256
_templates: OrderedDict[Any, Template] = OrderedDict()


class _NotReplayable(BaseException):
    """What a function is about to do would not happen in a replay.

    Not an Exception, so that a function that handles errors of its own does not handle this one.
    """


class _Watch:
    """What a function does besides returning tensors; see `clnet.modes.Recorder`."""

    def __init__(self) -> None:
        self.draws: list[tuple[Callable[[], Sequence[Any]], Sequence[Node]]] = []

    def looks(self, node: Node) -> None:
        """Give up: there is no value yet."""
        raise _NotReplayable

    def assigns(self, tensor: Tensor, old: Node) -> None:
        """Give up, before the tensor is changed."""
        raise _NotReplayable

    def grades(self, tensor: Tensor) -> None:
        """Give up, before the gradient is set."""
        raise _NotReplayable

    def guard(self, function: Callable[[], Any]) -> None:
        """Give up: the recording depends on more than shapes."""
        raise _NotReplayable

    def numbers(self, function: Callable[[], Sequence[Any]], nodes: Sequence[Node]) -> None:
        """Remember where random numbers come from."""
        self.draws.append((function, nodes))


class Recorded:
    """A function's template, and what it reads besides its arguments.

    template   the nodes; its inputs are the tensors among the arguments, then `outside`.
    outside    nodes read besides: of parameters, of other tensors, of Python numbers.
    out        the function's result, whose tensors stand for results of the template.
    """

    def __init__(
        self,
        template: Template,
        outside: Sequence[Node],
        draws: Sequence[tuple[Callable[[], Sequence[Any]], Sequence[int]]],
        out: Any,
    ) -> None:
        self.template, self.outside, self.out = template, list(outside), out
        self._draws = draws
        self._fresh = True

    def inputs(self, args: Sequence[Any]) -> list[Node]:
        """Return the template's inputs for arguments, with the next random numbers."""
        if not self._fresh:
            for draw, places in self._draws:
                for place, value in zip(places, draw(), strict=True):
                    self.outside[place] = scalar_node(value, self.outside[place].spec.dtype)
        self._fresh = False
        return [t.node for t in tree_leaves(list(args)) if isinstance(t, Tensor)] + self.outside

    def result(self, nodes: Sequence[Node]) -> Any:
        """Return what the function does, made of the template's results."""
        made = iter(nodes)
        leaves = tree_leaves(self.out)
        return tree_rebuild(
            self.out,
            [Tensor(next(made), view=False) if isinstance(x, Tensor) else x for x in leaves],
        )

    def __call__(self, *args: Any) -> Any:
        """Apply the function to other arguments, like those that it was recorded with."""
        return self.result(self.template.enter(self.inputs(args)))


def _stand(x: Any) -> Any:
    """Return what stands for a tensor: a gradient flows to it, so that it is seen where one ends.

    Its depth is 0, because nothing before it is part of the recording.
    """
    if not isinstance(x, Tensor):
        return x
    node = Node(x.node.spec, OPS["alias"], (x.node,), {}, x.node.device)
    node.needs_grad = modes.grad and node.spec.dtype.kind == "f"
    return Tensor(node, view=False)


def _replayable(node: Node, grad: bool) -> bool:
    """Whether a template says all about a node: no hooks, no rule of its own, no `no_grad`."""
    op = node.op
    assert op is not None
    flows = op.differentiable and node.spec.dtype.kind == "f"
    expected = grad and flows and any(n.needs_grad for n in node.inputs)
    special = node.hooks is not None or node.retain or getattr(op, "personal", False)
    return node.needs_grad == expected and not special


def recorded(function: Callable[..., Any], *args: Any) -> Recorded | None:
    """Record a function of tensors, in nested tuples, lists and dicts; None if that cannot be.

    It cannot where the function looks at a value, changes a tensor, or decides itself where
    gradients flow, and where somebody else watches (eager and anomaly mode, `cn.compile`).

    >>> import clnet as cn
    >>> double = recorded(lambda x: x * 2, cn.ones(3))
    >>> double(cn.tensor([1.0, 2.0, 3.0])).tolist()
    [2.0, 4.0, 6.0]
    """
    if modes.observers or modes.recorder is not None:
        return None
    used = used_blocks()
    made = _recorded(function, args)
    if made is None:
        rewind(used)
    return made


def _recorded(function: Callable[..., Any], args: Sequence[Any]) -> Recorded | None:
    watch = _Watch()
    added: list[Node] = []
    stands = tree_map(_stand, list(args))
    modes.recorder = watch
    try:
        with observing(added.append):
            out = function(*stands)
            results = _distinct(out, added)
    except _NotReplayable:
        return None
    finally:
        modes.recorder = None
    if not all(_replayable(node, modes.grad) for node in added):
        return None
    given = [t.node for t in tree_leaves(stands) if isinstance(t, Tensor)]
    known = {*given, *added}
    outside = list(dict.fromkeys(n for node in added for n in node.inputs if n not in known))
    numbers = {node: number for number, node in enumerate([*given, *outside])}
    template = template_of(numbers, added, [t.node for t in results])
    interned = None if template is None else _interned(template, [n.spec for n in numbers])
    if interned is None:
        return None
    place = {node: number for number, node in enumerate(outside)}
    draws = [(f, [place[n] for n in nodes]) for f, nodes in watch.draws]
    return Recorded(interned, outside, draws, out)


def _distinct(out: Any, added: Sequence[Node]) -> list[Tensor]:
    """Return the tensors of a result; what is returned twice, or untouched, under a new name."""
    results: list[Tensor] = []
    fresh = set(added)
    for t in tree_leaves(out):
        if isinstance(t, Tensor):
            own = t.node in fresh
            fresh.discard(t.node)
            results.append(t if own else Tensor(record(OPS["alias"], (t.node,), {}), view=False))
    return results


def _interned(template: Template, specs: Sequence[Any]) -> Template | None:
    """Return the template of this structure that was made first."""
    steps = [
        (op, operands, tuple(attrs.items()), spec) for op, operands, attrs, spec in template.steps
    ]
    key = (tuple(specs), tuple(steps), tuple(template.outputs))
    try:
        found = _templates.get(key)
    except TypeError:  # an attribute that cannot be compared
        return None
    if found is None:
        found = _templates[key] = template
        if len(_templates) > _MAX_TEMPLATES:
            _templates.popitem(last=False)
    else:
        _templates.move_to_end(key)
    return found
