"""Elements in order along a dim: sort and topk."""

from __future__ import annotations

from typing import Any

from clnet.core import Tensor, method
from clnet.errors import ShapeError
from clnet.ops.dims import as_dim
from clnet.ops.gather import gather
from clnet.ops.sort import argsort
from clnet.ops.statistics import Extreme
from clnet.ops.views import slice_


@method("sort")
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """Return the elements in order along a dim, and their indices: (values, indices).

    Equal elements keep their order, whatever `stable` says. NaN counts as the largest.

    >>> import clnet as cn
    >>> cn.tensor([3, 1, 2]).sort(descending=True).values
    tensor([3, 2, 1])
    """
    indices = argsort(input, dim, descending)
    return Extreme(gather(input, dim, indices), indices)


@method("topk")
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """Return the k largest (or least) elements along a dim in order, and their indices.

    Errors: ShapeError for a k below 0 or above the dim's size.

    >>> import clnet as cn
    >>> values, indices = cn.tensor([3.0, 1.0, 2.0]).topk(2)
    >>> values, indices
    (tensor([3., 2.]), tensor([0, 2]))
    """
    axis = as_dim("topk", dim, input.ndim)
    n = input.shape[axis] if input.ndim else 1
    if not 0 <= k <= n:
        raise ShapeError(f"topk: got k={k} of {n} elements of {input.node.spec}; needs 0 to {n}")
    indices = argsort(input, dim, largest)
    if input.ndim:
        sizes = (*input.shape[:axis], k, *input.shape[axis + 1 :])
        zeros, ones = (0,) * input.ndim, (1,) * input.ndim
        indices = slice_(indices, starts=zeros, steps=ones, sizes=sizes)
    return Extreme(gather(input, dim, indices), indices)
