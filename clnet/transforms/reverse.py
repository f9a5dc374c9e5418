"""Reverse mode: cotangents flow from results to inputs, as more nodes of the same graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clnet.core import Node, Tensor, compute_with, evaluate, method, record, scalar_node
from clnet.dtypes import scalar_dtype
from clnet.errors import GradientError
from clnet.modes import modes
from clnet.ops.sparse import SparseRows, SparseTensor
from clnet.ops.views import expand
from clnet.records import OPS, Op, Spec
from clnet.transforms.accumulate import accumulated
from clnet.transforms.template import Forward, templated
from clnet.transforms.tree import tree_leaves, tree_map

# The op whose gradient is being recorded, innermost last: anomaly mode names it.
differentiating: list[Node] = []


def _topological(roots: Iterable[Node], stop: set[int]) -> list[Node]:
    """Return the nodes that a gradient flows through, inputs first, ending at leaves and `stop`.

    Calls on the way are opened.
    """
    order: list[Node] = []
    seen: set[int] = set()
    stack = [(n, False) for n in roots if n.needs_grad]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if not node.leaf and id(node) not in stop:
                stack.extend([(n, False) for n in node.inputs if n.needs_grad])
    return order


@contextmanager
def _grad_mode(enabled: bool) -> Iterator[None]:
    before = modes.grad
    modes.grad = enabled
    try:
        yield
    finally:
        modes.grad = before


def _cotangents(node: Node, d: Tensor) -> list[tuple[Node, Tensor]]:
    """Apply the gradient rules of one node: its inputs, each with its cotangent."""
    op = node.op
    assert op is not None
    if node.released:
        raise GradientError(
            f"backward: the graph of {op.name} was given up by an earlier backward; "
            "call that one with retain_graph=True, or detach what is carried over"
        )
    result = node.tensor()
    operands = [n.tensor() for n in node.inputs]
    found = []
    differentiating.append(node)
    try:
        cotangents: Iterable[Tensor | None]
        if op.joint is not None:
            cotangents = op.joint(d, result, *operands, **node.attrs)
        elif op.composed is not None:
            cotangents = _through(op, d, node)
        else:
            rules = [op.pullback(i) if n.needs_grad else None for i, n in enumerate(node.inputs)]
            cotangents = [
                None if rule is None else rule(d, result, *operands, **node.attrs) for rule in rules
            ]
        for n, cotangent in zip(node.inputs, cotangents, strict=True):
            if cotangent is None or not n.needs_grad:
                continue
            given = Spec(cotangent.shape, cotangent.dtype)
            assert given == n.spec, f"gradient of {op.name}: {given} for an operand {n.spec}"
            found.append((n, cotangent))
    finally:
        differentiating.pop()
    return found


def _computed(d: Tensor) -> bool:
    return not isinstance(d, SparseTensor) and d.node.buffer is not None


def _through(op: Op, d: Tensor, node: Node) -> list[Tensor | None]:
    """Return the cotangents of a node's inputs through the ops that its own is composed of."""
    assert op.composed is not None
    create_graph = modes.grad
    inputs = [_track(n.tensor(), op.name) if n.needs_grad else n.tensor() for n in node.inputs]
    with _grad_mode(True):
        result = op.composed(*inputs, **node.attrs)
    ended = _flow([(result.node, d)], {id(t.node) for t in inputs}, create_graph)
    return [ended.get(id(t.node)) for t in inputs]


def _flow(
    seeds: Sequence[tuple[Node, Tensor]], stop: set[int], create_graph: bool
) -> dict[int, Tensor]:
    """Return the cotangents of leaves, of `stop` and of tensors that retain them."""
    order = _topological([n for n, _ in seeds], stop)
    waiting: dict[int, list[Tensor]] = {}
    ended: dict[int, Tensor] = {}
    with _grad_mode(create_graph):

        def add(node: Node, d: Tensor) -> None:
            terms = waiting.setdefault(id(node), [])
            if terms and _computed(terms[-1]) and _computed(d):
                # Computed already, as those of checkpoints: one sum takes less than two terms.
                terms[-1] = terms[-1] + d
                evaluate(terms[-1])
            else:
                terms.append(d)

        for node, d in seeds:
            add(node, d)
        for node in reversed(order):
            terms = waiting.pop(id(node), None)
            if terms is None:
                continue
            total = accumulated(terms)
            for hook in node.hooks or ():
                replaced = hook(total)
                total = total if replaced is None else replaced
            final = node.leaf or id(node) in stop
            if final or node.retain:
                ended[id(node)] = total
            if not final:
                for n, cotangent in _cotangents(node, total):
                    add(n, cotangent)
    return ended


def pulled(seeds: Sequence[tuple[Node, Tensor]], wanted: Sequence[Node]) -> list[Tensor]:
    """Return the cotangents of `wanted`, given those of results; nothing of it differentiates."""
    ended = _flow(seeds, {id(n) for n in wanted}, False)
    return [_gradient(ended, Tensor(n, view=False)) for n in wanted]


def _seed(y: Tensor, gradient: Tensor | None, name: str) -> Tensor:
    """Return the cotangent that a result starts with: the one given, or 1 for a scalar."""
    if gradient is None:
        if y.node.spec.size != 1:
            raise GradientError(
                f"{name}: gradients start at a scalar, this is {y.node.spec}; "
                "reduce it (.sum(), .mean()) or pass its gradient"
            )
        return expand(Tensor(scalar_node(1.0, y.dtype)), shape=y.shape)
    if gradient.node.spec != y.node.spec:
        raise GradientError(
            f"{name}: the gradient is {gradient.node.spec}; needs {y.node.spec}, as the result"
        )
    return gradient


@method("backward")
def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Sequence[Tensor] | None = None,
) -> None:
    """Accumulate the gradient of this tensor in `grad` of the leaves that it was computed from.

    A tensor with one element needs no `gradient`; others need one of their shape and dtype. The
    graph is given up unless `retain_graph` (default: `create_graph`). With `create_graph` the
    gradients can be differentiated again. `inputs` restricts the leaves. Nothing is computed yet.
    Errors: GradientError.

    >>> import clnet as cn
    >>> x = cn.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 4.0]
    """
    root = self.node
    if not root.needs_grad:
        raise GradientError(
            "backward: this tensor does not require grad; "
            "none of what it was computed from does, or it was computed under no_grad"
        )
    only = None if inputs is None else {id(t.node) for t in inputs}
    plain = only is None and not create_graph and not differentiating
    seed = None if gradient is None else gradient.node
    forward = Forward(root, seed) if plain else None
    usable = forward is not None and forward.usable
    order = forward.order if forward is not None and usable else _topological([root], only or set())

    def flow() -> dict[int, Tensor]:
        ended = _flow([(root, _seed(self, gradient, "backward"))], only or set(), create_graph)
        return ended if create_graph else {key: _owned(d) for key, d in ended.items()}

    ended = flow() if forward is None else templated(forward, flow)
    group = [root] if root.buffer is None else []
    fresh = True  # the gradients are those of this call, and nothing else
    for node in order:
        total: Any = ended.get(id(node))
        if total is None:
            continue
        holder: Any = node.owner() if node.owner is not None else None
        if isinstance(holder, SparseRows):
            holder, total = holder.table(), holder.gradient(total)
        if holder is None or (only is not None and id(holder.node) not in only):
            continue
        if modes.recorder is not None:
            modes.recorder.grades(holder)
        before = holder.grad
        if before is None:
            holder.grad = total
            fresh = fresh and type(total) is Tensor
        elif isinstance(before, SparseTensor):
            fresh = False
            with _grad_mode(create_graph):
                holder.grad = accumulated([before, total])
        elif create_graph:
            holder.grad = before + total
        else:
            fresh = False
            with _grad_mode(False):
                before.assign(before + total)
        now = holder.grad
        value: Any = now.values() if isinstance(now, SparseTensor) else now
        if value.node.buffer is None:
            group.append(value.node)
    together = compute_with(group, group)
    if forward is not None and forward.whole and forward.entered is not None and fresh:
        together.forward = [n for n in forward.numbers if n is not root]
        together.structure = forward.entered
    if not (create_graph if retain_graph is None else retain_graph):
        for node in order:
            if not node.leaf:
                node.released = True
                if node.buffer is not None:
                    node.inputs = ()


def _owned(d: Tensor) -> Tensor:
    """Return a tensor of its own for a cotangent which others may share or view."""
    if isinstance(d, SparseTensor):
        return d
    with _grad_mode(False):
        return Tensor(record(OPS["alias"], (d.node,), {}), view=False)


# --- functions -----------------------------------------------------------------------------------


def _track(x: Any, name: str) -> Tensor:
    """Return a tensor with the value of `x` at which the gradient of this call ends."""
    if isinstance(x, (bool, int)) or not isinstance(x, (float, Tensor)):
        raise GradientError(f"{name}: cannot differentiate by {x!r}; needs a floating-point Tensor")
    node = x.node if isinstance(x, Tensor) else scalar_node(x, scalar_dtype(x))
    if node.spec.dtype.kind != "f":
        raise GradientError(f"{name}: cannot differentiate by {node.spec}; needs a float dtype")
    tracked = record(OPS["alias"], (node,), {})
    tracked.inputs = (node,)
    tracked.needs_grad = True
    return Tensor(tracked, view=False)


def _settle(results: Iterable[Node], tracked: Sequence[Node]) -> None:
    """Let nodes need a gradient only if something outside of this call asks for one."""
    ends = {id(n) for n in tracked}
    order = _topological(results, ends)
    for node in tracked:
        node.needs_grad = node.inputs[0].needs_grad
        if not node.needs_grad and node.buffer is not None:
            node.inputs = ()
    for node in order:
        if id(node) not in ends and not node.leaf:
            node.needs_grad = any(n.needs_grad for n in node.inputs)
            if not node.needs_grad and node.buffer is not None:
                node.inputs = ()


def vjp(
    function: Callable[..., Any], *primals: Any
) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """Return `function(*primals)` and the function that pulls cotangents of it back to primals.

    Primals and results are tensors or nested tuples, lists and dicts of them, as in JAX. The
    returned function takes a cotangent like the result and gives a tuple, one entry a primal.
    Errors: GradientError for integer primals and cotangents of another shape or dtype.

    >>> import clnet as cn
    >>> y, back = cn.vjp(lambda x: x * x, cn.tensor([1.0, 2.0]))
    >>> back(cn.tensor([1.0, 10.0]))[0].tolist()
    [2.0, 40.0]
    """
    inputs = [tree_map(lambda x: _track(x, "vjp"), p) for p in primals]
    tracked = [t.node for t in tree_leaves(inputs)]
    with _grad_mode(True):
        out = function(*inputs)
    results = tree_leaves(out)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        given = tree_leaves(cotangents)
        if len(given) != len(results):
            raise GradientError(f"vjp: {len(given)} cotangents for {len(results)} results")
        seeds = [
            (y.node, _seed(y, d, "vjp"))
            for y, d in zip(results, given, strict=True)
            if y.node.needs_grad
        ]
        ended = _flow(seeds, {id(n) for n in tracked}, True)
        return tuple(tree_map(lambda t: _gradient(ended, t), i) for i in inputs)

    return out, pull


def _gradient(ended: dict[int, Tensor], t: Tensor) -> Tensor:
    return ended[id(t.node)] if id(t.node) in ended else _zeros(t)


def _zeros(t: Tensor) -> Tensor:
    return expand(Tensor(scalar_node(0.0, t.dtype)), shape=t.shape)


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that gives `function`'s scalar result and its gradient by `argnums`.

    As in JAX: the arguments differentiated may be nested tuples, lists and dicts of tensors, and
    the gradient has their structure; with `has_aux` the function returns (scalar, anything else).
    Errors: GradientError if the result is not a scalar tensor or an argument is not floating-point.

    >>> import clnet as cn
    >>> value, gradient = cn.value_and_grad(lambda x: (x * x).sum())(cn.tensor([1.0, 2.0]))
    >>> value.item(), gradient.tolist()
    (5.0, [2.0, 4.0])
    """
    chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        args_list = list(args)
        for i in chosen:
            if not -len(args) <= i < len(args):
                raise GradientError(f"grad: argnums {i}, but {len(args)} arguments were given")
            args_list[i] = tree_map(lambda x: _track(x, "grad"), args[i])
        inputs = [args_list[i] for i in chosen]
        tracked = [t.node for t in tree_leaves(inputs)]
        with _grad_mode(True):
            out = function(*args_list, **kwargs)
        value, aux = out if has_aux else (out, None)
        if not isinstance(value, Tensor):
            raise GradientError(f"grad: the function returned {value!r}; needs a scalar tensor")
        ended: dict[int, Tensor] = {}
        if value.node.needs_grad:
            seed = _seed(value, None, "grad")
            ended = _flow([(value.node, seed)], {id(n) for n in tracked}, True)
        gradients = [tree_map(lambda t: _gradient(ended, t), i) for i in inputs]
        results = [value, *tree_leaves(aux), *tree_leaves(gradients)]
        _settle([t.node for t in results if isinstance(t, Tensor)], tracked)
        shared = [t.node for t in results if isinstance(t, Tensor) and t.node.buffer is None]
        compute_with(shared, shared)
        gradient = gradients[0] if isinstance(argnums, int) else tuple(gradients)
        return ((value, aux), gradient) if has_aux else (value, gradient)

    return differentiated


def grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that gives the gradient of `function`'s scalar result by `argnums`.

    With `has_aux` it gives (gradient, aux). See `value_and_grad`.

    >>> import clnet as cn
    >>> cn.grad(cn.grad(lambda x: x * x * x))(2.0).item()
    12.0
    """
    both = value_and_grad(function, argnums, has_aux)

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return differentiated


# --- users' own rules ----------------------------------------------------------------------------


# The user's rule of each result, beside the graph so that it is no part of a plan's key.
_rules: weakref.WeakKeyDictionary[Node, Callable[[int, Tensor], Tensor | None]]
_rules = weakref.WeakKeyDictionary()


def _custom_vjp(index: int, d: Tensor, r: Tensor, y: Tensor, *args: Tensor) -> Tensor | None:
    found = _rules[r.node](index - 1, d)
    return _zeros(args[index - 1]) if found is None else found


class _CustomOp(Op):
    """The alias that carries a user's rule; its first operand, the value, gets no gradient."""

    # What its gradient is depends on the node, not only on the op.
    personal = True

    def pullback(self, index: int) -> Any:
        return None if index == 0 else super().pullback(index)


_CUSTOM = _CustomOp(
    "custom_vjp",
    "The value of a function whose gradient rule is the user's.",
    lambda y, *args: y,
    lambda y, *args: y,
    vjp=_custom_vjp,
    view=lambda layout: (layout.strides, 0),
)


class custom_vjp:
    """A function with a gradient rule of its own, as in JAX.

    `defvjp(fwd, bwd)`: `fwd(*args)` gives (result, residuals); `bwd(residuals, cotangent)` gives a
    tuple, one cotangent (or None) for each argument. Arguments are tensors; results one or a tuple.

    >>> import clnet as cn
    >>> @cn.custom_vjp
    ... def clip_gradient(x):
    ...     return x
    >>> clip_gradient.defvjp(lambda x: (x, None), lambda _, d: (d.clamp(-1, 1),))
    >>> cn.grad(lambda x: 5 * clip_gradient(x))(2.0).item()
    1.0
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.fwd: Callable[..., Any] | None = None
        self.bwd: Callable[..., Any] | None = None
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", "custom_vjp")

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Set the forward function, which also returns residuals, and the gradient rule."""
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: Any) -> Any:
        if self.fwd is None or self.bwd is None:
            raise GradientError(f"custom_vjp: {self.__name__} has no rule; call defvjp first")
        tensors = [(i, a) for i, a in enumerate(args) if isinstance(a, Tensor)]
        if not (modes.grad and any(a.requires_grad for _, a in tensors)):
            return self.function(*args)
        out, residuals = self.fwd(*args)
        several = isinstance(out, tuple)
        outs = out if several else (out,)
        results = tuple(
            self._result(k, outs, several, residuals, tensors) for k in range(len(outs))
        )
        return results if several else results[0]

    def _result(
        self,
        k: int,
        outs: tuple[Tensor, ...],
        several: bool,
        residuals: Any,
        tensors: list[tuple[int, Tensor]],
    ) -> Tensor:
        bwd = self.bwd
        assert bwd is not None
        last: list[Any] = [None, None]

        def back(index: int, d: Tensor) -> Tensor | None:
            if last[0] is not d:
                given = tuple(d if j == k else _zeros(o) for j, o in enumerate(outs))
                last[:] = [d, bwd(residuals, given if several else d)]
            found = last[1]
            found = found if isinstance(found, tuple) else (found,)
            if len(found) <= tensors[-1][0]:
                raise GradientError(
                    f"custom_vjp: the rule of {self.__name__} returned {len(found)} values; "
                    "needs a tuple with a cotangent (or None) for each argument"
                )
            return found[tensors[index][0]]

        nodes = (outs[k].node, *(t.node for _, t in tensors))
        node = record(_CUSTOM, nodes, {})
        _rules[node] = back
        return Tensor(node)
