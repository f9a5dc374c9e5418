"""`checkpoint`: results are kept, what they are computed from is computed again for the gradient.

The function is recorded as a template and computed at once, so that only its results stay in
memory. Each result is a node of its own op above one node that all of them share; when gradients
have come by all results, the shared node's rule enters the template of the gradient, which contains
the function, and has it computed at once too, before gradients flow on to what came before.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from clnet.calls import Template, template_of
from clnet.core import Node, Tensor, evaluate, record, scalar_node
from clnet.errors import ClnetError
from clnet.modes import enable_grad, modes, no_grad, observing
from clnet.ops.views import expand
from clnet.records import OPS, Op
from clnet.transforms.recorded import Recorded, recorded
from clnet.transforms.reverse import pulled

# By template: its gradients' templates, by which inputs want one and which results have one.
_gradients: weakref.WeakKeyDictionary[Template, dict[Any, Template]]
_gradients = weakref.WeakKeyDictionary()


def _gradient_of(template: Template, inputs: Sequence[Node], given: tuple[int, ...]) -> Template:
    """Return the template (inputs, cotangents of the results `given`) -> cotangents of inputs.

    There is a result for each input that needs a gradient.
    """
    key = (tuple([n.needs_grad for n in inputs]), given)
    known = _gradients.setdefault(template, {})
    if key in known:
        return known[key]
    stands: list[Node] = []
    for n in inputs:
        if n.value is not None:
            stand = scalar_node(n.value, n.spec.dtype)
        else:
            stand = Node(n.spec, OPS["alias"], (n,), {}, n.device)
        stand.needs_grad = n.needs_grad
        stands.append(stand)
    with enable_grad():
        results = template.enter(stands)
    nodes = results[0].call.open()
    ds = [Node(results[k].spec, OPS["alias"], (results[k],), {}) for k in given]
    added: list[Node] = []
    with observing(added.append), no_grad():
        seeds = [(results[k], Tensor(d, view=False)) for k, d in zip(given, ds, strict=True)]
        ended = pulled(seeds, [n for n in stands if n.needs_grad])
        # Under names of their own, because a template's results are distinct, and steps of it.
        outputs = [record(OPS["alias"], (d.node,), {}) for d in ended]
    numbers = {node: number for number, node in enumerate([*stands, *ds])}
    made = template_of(numbers, [*nodes, *added], outputs)
    assert made is not None, "a gradient reads only what its function does"
    known[key] = made
    return made


class _Use:
    """One call of `checkpoint`: its template, and the cotangents that have come by."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.ds: dict[int, Tensor] = {}
        self.found: dict[int, Tensor] = {}

    def pull(self, index: int, args: Sequence[Tensor]) -> Tensor:
        """Return the cotangent of one input, having computed those of all at the first."""
        if self.ds:
            given = tuple(sorted(self.ds))
            nodes = [t.node for t in args]
            template = _gradient_of(self.template, nodes, given)
            ds = [self.ds.pop(k).node for k in given]
            found = [Tensor(n, view=False) for n in template.enter([*nodes, *ds])]
            evaluate(*found)
            wanted = [i for i, n in enumerate(nodes) if n.needs_grad]
            self.found = dict(zip(wanted, found, strict=True))
        return self.found.pop(index)


class _CheckpointOp(Op):
    """An alias whose gradient depends on the node, not only on the op."""

    personal = True

    def pullback(self, index: int) -> Any:
        return None if index == 0 else super().pullback(index)


def _result_vjp(index: int, d: Tensor, r: Tensor, y: Tensor, shared: Tensor) -> Tensor:
    use, k = _uses[r.node]
    use.ds[k] = d
    # The shared node is of interest only for when it comes: after all results.
    return expand(Tensor(scalar_node(0.0, shared.dtype)), shape=shared.shape)


def _shared_vjp(index: int, d: Tensor, r: Tensor, y: Tensor, *args: Tensor) -> Tensor:
    return _uses[r.node][0].pull(index - 1, args)


_RESULT = _CheckpointOp(
    "checkpoint_result",
    "A result of a function that is computed again for its gradient.",
    lambda y, shared: y,
    lambda y, shared: y,
    vjp=_result_vjp,
    view=lambda layout: (layout.strides, 0),
)
_SHARED = _CheckpointOp(
    "checkpoint",
    "What all results of a function that is computed again depend on: its inputs.",
    lambda y, *args: y,
    lambda y, *args: y,
    vjp=_shared_vjp,
    view=lambda layout: (layout.strides, 0),
)
# The call that a node belongs to, and which result it is.
_uses: weakref.WeakKeyDictionary[Node, tuple[_Use, int]] = weakref.WeakKeyDictionary()


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Return `function(*args, **kwargs)`, of which only the results stay in memory.

    What the results are computed from is computed again when their gradient is needed (Chen et al.,
    2016), from the same values and with the same random numbers, so that gradients are the same.
    Arguments and results are tensors, in tuples, lists and dicts; gradients flow to arguments and
    to parameters alike. The results are computed at once, and so are the gradients as `backward`
    comes by. `use_reentrant` and `preserve_rng_state` are PyTorch's and change nothing. Inside of
    `cn.compile` and in eager mode the function is called as it is.

    Errors: ClnetError for a function that looks at values, changes tensors in place, or has its own
    gradient rules or `no_grad` inside.

    >>> import clnet as cn
    >>> w = cn.ones(3, requires_grad=True)
    >>> y = cn.checkpoint(lambda x: cn.tanh(x * w).sum(), cn.zeros(3))
    >>> y.backward()
    >>> w.grad.tolist()
    [0.0, 0.0, 0.0]
    """
    if not modes.grad or modes.observers or modes.recorder is not None:
        return function(*args, **kwargs)
    found = (
        function
        if isinstance(function, Recorded)
        else recorded(lambda *given: function(*given, **kwargs), *args)
    )
    if found is None:
        raise ClnetError(
            "checkpoint: the function looks at a value, changes a tensor in place, or decides "
            "itself where gradients flow; needs one that can be computed again from its inputs"
        )
    inputs = found.inputs(args)
    with no_grad():
        ys = found.template.enter(inputs)
    pending = [n for n in inputs if n.buffer is None and n.value is None]
    evaluate(*[Tensor(n, view=False) for n in ys], *[n.tensor() for n in pending])
    needing = {i for i, n in enumerate(inputs) if n.needs_grad}
    flows = [bool(reached & needing) for reached in found.template.through]
    if not any(flows):
        return found.result(ys)
    reached = set().union(*found.template.through)
    operands = [
        n if i in reached or i not in needing else record(OPS["detach"], (n,), {})
        for i, n in enumerate(inputs)
    ]
    use = _Use(found.template)
    shared = record(_SHARED, (ys[flows.index(True)], *operands), {})
    _uses[shared] = (use, 0)
    results = list(ys)
    for k, own in enumerate(flows):
        if own:
            results[k] = record(_RESULT, (ys[k], shared), {})
            _uses[results[k]] = (use, k)
    return found.result(results)


def checkpoint_sequential(
    functions: Sequence[Callable[..., Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """Apply functions one after the other, in `segments` parts that are computed again each.

    functions: a `nn.Sequential`, or a sequence of functions of one argument. As in PyTorch the last
    part is kept, because its gradient comes first. See `checkpoint`. Errors: ValueError for a
    number of segments not in 1 to the number of functions.

    >>> import clnet as cn
    >>> net = cn.nn.Sequential(cn.nn.Linear(3, 4), cn.nn.Tanh(), cn.nn.Linear(4, 1))
    >>> cn.checkpoint_sequential(net, 2, cn.ones(5, 3)).shape
    (5, 1)
    """
    parts = list(functions)
    if not 1 <= segments <= len(parts):
        raise ValueError(
            f"checkpoint_sequential: got segments={segments}; needs 1 to {len(parts)}, the "
            "number of functions"
        )

    def run(some: Sequence[Callable[..., Any]], x: Any) -> Any:
        for function in some:
            x = function(x)
        return x

    size = len(parts) // segments
    last = size * (segments - 1)
    for start in range(0, last, size):
        input = checkpoint(functools.partial(run, parts[start : start + size]), input)
    return run(parts[last:], input)
