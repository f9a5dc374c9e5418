"""How an op meets its operands: numbers become nodes, dtypes and shapes are brought together.

What that takes depends on the op and on the operands' specs alone, so it is found once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from clnet.core import Node, Tensor, enter, record, scalar_node
from clnet.dtypes import DType, default_of, result_type, scalar_dtype
from clnet.errors import DTypeError, ShapeError
from clnet.modes import modes
from clnet.records import OPS, Op, Spec

# Bindings kept. Programs have a few hundred; beyond this each is found anew.
_MAX_BINDINGS = 1 << 16
# Integers below are floats without loss.
_EXACT = 1 << 53


def _number_of(op: Op, x: Any) -> bool | int | float:
    if isinstance(x, (bool, int, float)):
        return x
    if isinstance(x, np.generic):
        return x.item()
    given = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
    hint = " (make one with cn.tensor(...))" if isinstance(x, (np.ndarray, list, tuple)) else ""
    raise DTypeError(f"{op.name}: an operand is a {given}; needs a Tensor or a number{hint}")


def _promoted(op: Op, operands: list[Any]) -> list[Node]:
    """Bring the operands to one dtype as the record asks; Python numbers become scalar nodes."""
    if not op.promote:
        return [x if isinstance(x, Node) else _number(op, x, scalar_dtype(x)) for x in operands]
    skip = 1 if op.promote == "last" else 0
    group = operands[skip:]
    dtype = group[0].spec.dtype if isinstance(group[0], Node) else None
    for x in group:
        if not isinstance(x, Node) or x.spec.dtype is not dtype:
            nodes = [(n.spec.dtype, n.spec.ndim) for n in group if isinstance(n, Node)]
            dtype = result_type(nodes, [n for n in group if not isinstance(n, Node)])
            break
    assert dtype is not None
    if op.promote == "float" and dtype.kind != "f":
        dtype = default_of("f")
    for i, x in enumerate(operands):
        wanted = dtype if i >= skip else None
        if not isinstance(x, Node):
            operands[i] = _number(op, x, wanted or scalar_dtype(x))
        elif wanted is not None and x.spec.dtype is not wanted:
            operands[i] = record(OPS["cast"], (x,), {"dtype": wanted})
    return operands


def _number(op: Op, x: bool | int | float, dtype: DType) -> Node:
    """Return a Python number as a scalar node, of the Python type that its dtype stores."""
    if dtype.kind == "f":
        try:
            return scalar_node(float(x), dtype)
        except OverflowError:
            pass
    else:
        value = int(x)
        limits = np.iinfo(dtype.storage) if dtype.kind == "i" else None
        if limits is None or limits.min <= value <= limits.max:
            return scalar_node(value, dtype)
    raise DTypeError(f"{op.name}: {x!r} is out of the range of {dtype.name}")


def broadcast_shapes(name: str, *given: Spec | tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape to which all shapes, or those of specs, broadcast, by NumPy's rule.

    >>> broadcast_shapes("add", (2, 1), (3,))
    (2, 3)
    """
    shapes = [g.shape if isinstance(g, Spec) else g for g in given]
    ndim = max(map(len, shapes))
    result = []
    for axis in range(-ndim, 0):
        sizes = {s[axis] for s in shapes if len(s) >= -axis and s[axis] != 1}
        if len(sizes) > 1:
            named = " with ".join(str(g if isinstance(g, Spec) else list(g)) for g in given)
            raise ShapeError(
                f"{name}: cannot broadcast {named}: "
                f"{' against '.join(map(str, sorted(sizes)))} in dimension {axis}; "
                f"needs sizes that are equal or 1"
            )
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


class _Binding(NamedTuple):
    """What operands of known specs need, and the spec of the result.

    For each operand None (nothing), the dtype that a Python number gets, or the nodes between it
    and the op, casts and expansions, as (op, attrs, spec).
    """

    needs: tuple[Any, ...]
    spec: Spec

    def enter(self, op: Op, operands: list[Any]) -> Node:
        """Add the op's node on operands of these specs."""
        for i, need in enumerate(self.needs):
            if need is None:
                continue
            x = operands[i]
            if type(need) is DType:
                x = scalar_node(float(x), need)
            else:
                for step, attrs, spec in need:
                    x = enter(step, (x,), attrs, spec)
            operands[i] = x
        return enter(op, tuple(operands), {}, self.spec)


_bindings: dict[Any, _Binding] = {}


def _needs(operand: Any, node: Node) -> Any:
    """Return what became of an operand on the way to the node that the op was recorded on."""
    if operand is node:
        return None
    if not isinstance(operand, Node):
        return node.spec.dtype
    steps: list[Any] = []
    while node is not operand:
        steps.insert(0, (node.op, node.attrs, node.spec))
        node = node.inputs[0]
    return tuple(steps)


def _known(op: Op, operands: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the key of a binding: the op and its operands' specs; None where values matter."""
    key: list[Any] = [op]
    for x in operands:
        if isinstance(x, Node):
            if x.value is not None:
                return None
            key.append(x.spec)
        elif type(x) is float or (type(x) is int and -_EXACT < x < _EXACT):
            key.append(type(x))
        else:
            return None
    return tuple(key)


def bind(op: Op, operands: Sequence[Any], attrs: dict[str, Any]) -> Tensor:
    """Record `op` on operands (tensors and Python numbers): promote, broadcast, check, add a node.

    Errors: ShapeError, DTypeError from the record's rule, DeviceError for operands on different
    devices; all at the caller's line, before anything runs.
    """
    given = [x.node if isinstance(x, Tensor) else x for x in operands]
    key = None if attrs or op.put is not None else _known(op, given)
    binding = None if key is None else _bindings.get(key)
    if binding is not None:
        return Tensor(binding.enter(op, given), view=False)
    nodes = _promoted(op, [x if isinstance(x, Node) else _number_of(op, x) for x in given])
    if op.broadcast and len(nodes) > 1:
        shapes = {n.spec.shape for n in nodes if n.value is None or n.needs_grad}
        if len(shapes) > 1:
            shape = broadcast_shapes(op.name, *(n.spec for n in nodes))
            nodes = [
                n
                if (n.value is not None and not n.needs_grad) or n.spec.shape == shape
                else record(OPS["expand"], (n,), {"shape": shape})
                for n in nodes
            ]
    tensor = Tensor(record(op, tuple(nodes), attrs), view=False)
    # Who watches may have computed the nodes by now, which then have let go of their inputs.
    if key is not None and not modes.observers and len(_bindings) < _MAX_BINDINGS:
        pairs = list(zip(given, nodes, strict=True))
        if all(isinstance(x, Node) or n.spec.dtype.kind == "f" for x, n in pairs):
            needs = tuple([_needs(x, n) for x, n in pairs])
            _bindings[key] = _Binding(needs, tensor.node.spec)
    if op.put is not None:
        # Not from the new node's inputs: in eager mode it is computed and has let go of them.
        tensor._view_of(nodes[0])
    return tensor


Op.bind = staticmethod(bind)
