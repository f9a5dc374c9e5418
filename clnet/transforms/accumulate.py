"""The sum of a value's cotangents, one from each use of it.

A use of a part (`x[t]`, `x.unbind()`, `x.split(n)`) gives a cotangent as large as the whole and
zero outside of the part. Adding T of those would take T passes over the whole, and T times its
memory, in the gradient of a recurrent net. Parts that do not overlap are written into one tensor.

A use of a matrix in a product (`h @ w` at each step) gives a product as large as the matrix. The
sum of those is one product of their factors, laid side by side, which are smaller.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import NamedTuple

from clnet.core import Node, Tensor, record
from clnet.ops.join import cat
from clnet.ops.linalg import matmul_
from clnet.ops.sparse import SparseTensor, sum_of_rows
from clnet.ops.views import expand, permute, place

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


class _Product(NamedTuple):
    """A cotangent that is the product of two matrices, [m, k] and [k, n]."""

    left: Node
    right: Node

    @property
    def joins(self) -> bool:
        """Whether copying the factors costs less than adding products."""
        (m, k), (_, n) = self.left.spec.shape, self.right.spec.shape
        return k * (m + n) <= m * n


def _product(node: Node) -> _Product | None:
    """Return the product that a cotangent is, seen through pairs of transpositions."""
    turned = False
    while node.op is permute and node.spec.ndim == 2 and node.inputs:
        turned ^= node.attrs["dims"] == (1, 0)
        node = node.inputs[0]
    if turned or node.op is not matmul_ or node.spec.ndim != 2 or not node.inputs:
        return None
    return _Product(*node.inputs)


def _joined(products: Sequence[_Product]) -> Tensor:
    """Return the sum of products of matrices as one product."""
    left = cat([p.left.tensor().transpose(0, 1) for p in products], 0).transpose(0, 1)
    return matmul_(left, cat([p.right.tensor() for p in products], 0))


def accumulated(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of cotangents of one value: parts, then products, then others in their order.

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
        pairs = [(term, _product(term.node)) for term in terms]
        products = [product for _, product in pairs if product is not None and product.joins]
        if len(products) > 1:
            rest = [term for term, product in pairs if product is None or not product.joins]
            terms = [_joined(products), *rest]
    return functools.reduce(operator.add, terms)
