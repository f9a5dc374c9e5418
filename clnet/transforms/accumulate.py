"""The sum of a value's cotangents, one from each use of it.

A use of a part (`x[t]`, `x.unbind()`, `x.split(n)`) gives a cotangent as large as the whole and
zero outside of the part. Adding T of those would take T passes over the whole, and T times its
memory, in the gradient of a recurrent net. Parts that do not overlap are written into one tensor.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence

from clnet.core import Node, Tensor, record
from clnet.ops.sparse import SparseTensor, sum_of_rows
from clnet.ops.views import expand, place

_Ints = tuple[int, ...]
_Part = tuple[Node, _Ints, _Ints]


def _parts(node: Node) -> list[_Part]:
    """Return the parts of a cotangent which is zero elsewhere, with their starts and steps."""
    if node.op is not place or not node.inputs:
        return []
    base = node.inputs[0]
    if base.op is not expand or not base.inputs or base.inputs[0].value != 0:
        return []
    attrs = node.attrs
    return list(zip(node.inputs[1:], attrs["starts"], attrs["steps"], strict=True))


def _interval(part: _Part, axis: int) -> tuple[int, int]:
    node, starts, steps = part
    first = starts[axis]
    last = first + (node.spec.shape[axis] - 1) * steps[axis]
    return (first, last) if first <= last else (last, first)


def _apart(parts: Sequence[_Part], ndim: int) -> bool:
    """Return whether some dimension separates all the parts."""
    for axis in range(ndim):
        intervals = sorted(_interval(part, axis) for part in parts)
        if all(low[1] < high[0] for low, high in itertools.pairwise(intervals)):
            return True
    return False


def accumulated(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of cotangents of one value, in their order but for parts, which come first.

    >>> import clnet as cn
    >>> x = cn.ones(3, requires_grad=True)
    >>> (x[0] * 2 + x[2] * 5).backward()
    >>> x.grad.tolist()
    [2.0, 0.0, 5.0]
    """
    rows = [term for term in terms if isinstance(term, SparseTensor)]
    if len(rows) == len(terms):
        return rows[0] if len(rows) == 1 else sum_of_rows(rows)
    if len(terms) > 1:
        found = [(term, _parts(term.node)) for term in terms]
        parts = [part for _, some in found for part in some if part[0].spec.size]
        joined = [term for term, some in found if some]
        if len(joined) > 1 and _apart(parts, terms[0].ndim):
            base = joined[0].node.inputs[0]
            attrs = {"starts": tuple(p[1] for p in parts), "steps": tuple(p[2] for p in parts)}
            whole = Tensor(record(place, (base, *(p[0] for p in parts)), attrs))
            terms = [whole, *(term for term, some in found if not some)]
    return functools.reduce(operator.add, terms)
