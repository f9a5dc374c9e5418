"""Choosing and adding by index along a dim, with PyTorch's names."""

from __future__ import annotations

from clnet.core import Tensor, method
from clnet.errors import DTypeError, ShapeError
from clnet.ops.dims import as_dim
from clnet.ops.index import counted, segment_sum, segment_sum_along, take_, take_along
from clnet.ops.views import place, reshape, slice_


@method("index_select")
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the elements along a dim chosen by an index of one dimension (int32 or int64).

    Negative indices count from the end. An index outside the dim cannot be an error, since the
    values are not waited for: it gives NaN, or 0 for integers and bool. Errors: DTypeError,
    ShapeError, IndexOutOfRange for the dim.

    >>> import clnet as cn
    >>> cn.tensor([[1, 2], [3, 4]]).index_select(1, cn.tensor([1, 1]))
    tensor([[2, 2],
            [4, 4]])
    """
    axis = as_dim("index_select", dim, input.ndim)
    if not index.ndim:
        index = reshape(index, shape=(1,))
    return take_(input, index, dim=axis)


def take(input: Tensor, index: Tensor, dim: int | None = None) -> Tensor:
    """Return the elements chosen by an index of any shape, along a dim or of the flattened tensor.

    The index's dims take the place of `dim`. Indices as `index_select`.

    >>> import clnet as cn
    >>> cn.take(cn.tensor([5, 6, 7]), cn.tensor([[0, 2]]))
    tensor([[5, 7]])
    """
    if dim is None:
        input, dim = reshape(input, shape=(input.node.spec.size,)), 0
    axis = as_dim("take", dim, input.ndim)
    flat = index if index.ndim == 1 else reshape(index, shape=(index.node.spec.size,))
    rows = take_(input, flat, dim=axis)
    if index.ndim == 1:
        return rows
    shape = (*input.shape[:axis], *index.shape, *input.shape[axis + 1 :])
    return reshape(rows, shape=shape)


def _leading(input: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    """Return the first elements of each dim but one, as many as `shape` has."""
    sizes = tuple(
        n if i == dim else m for i, (n, m) in enumerate(zip(input.shape, shape, strict=True))
    )
    if sizes == input.shape:
        return input
    return slice_(input, starts=(0,) * len(sizes), steps=(1,) * len(sizes), sizes=sizes)


def _fits(index: tuple[int, ...], shape: tuple[int, ...], dim: int) -> bool:
    return len(index) == len(shape) and all(
        i == dim or n <= m for i, (n, m) in enumerate(zip(index, shape, strict=True))
    )


@method("gather")
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return y with y[i][j] = x[index[i][j]][j] for dim 0, and likewise for others.

    index: int32 or int64, as many dims as x, and no size above x's but along `dim`; its shape is
    the result's. Indices as `index_select`. Errors: DTypeError, ShapeError.

    >>> import clnet as cn
    >>> cn.tensor([[1, 2], [3, 4]]).gather(1, cn.tensor([[0, 0], [1, 0]]))
    tensor([[1, 1],
            [4, 3]])
    """
    axis = as_dim("gather", dim, input.ndim)
    if not input.ndim:
        return reshape(take(input, index), shape=index.shape)
    if not _fits(index.shape, input.shape, axis):
        raise ShapeError(
            f"gather: cannot gather {index.node.spec} of {input.node.spec} along {dim}; "
            "needs as many dims, and no larger sizes but along that dim"
        )
    return take_along(_leading(input, index.shape, axis), index, dim=axis)


@method("take_along_dim")
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Return the elements chosen along a dim, as `gather`; without dim, of the flattened tensor.

    >>> import clnet as cn
    >>> x = cn.tensor([3, 1, 2])
    >>> cn.take_along_dim(x, x.argsort(), 0)
    tensor([1, 2, 3])
    """
    if dim is None:
        return take(input, reshape(indices, shape=(indices.node.spec.size,)))
    return gather(input, dim, indices)


@method("scatter_add")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Return x with src added where index says: y[index[i][j]][j] += src[i][j] for dim 0.

    Elements with equal index are added in order, so results are reproducible. index: int32 or
    int64, no size above src's, nor above x's but along `dim`. Errors: DTypeError, ShapeError.

    >>> import clnet as cn
    >>> cn.zeros(3).scatter_add(0, cn.tensor([0, 2, 0]), cn.tensor([1.0, 2.0, 3.0]))
    tensor([4., 0., 2.])
    """
    axis = as_dim("scatter_add", dim, input.ndim)
    if src.dtype is not input.dtype:
        raise DTypeError(
            f"scatter_add: cannot add {src.node.spec} to {input.node.spec}; needs the same dtype"
        )
    if not _fits(index.shape, input.shape, axis) or not _fits(index.shape, src.shape, -1):
        raise ShapeError(
            f"scatter_add: cannot add {src.node.spec} at {index.node.spec} to {input.node.spec}; "
            "needs as many dims, and an index no larger than src, nor than x but along that dim"
        )
    rows = input.shape[axis]
    given = _leading(src, index.shape, -1)
    added = segment_sum_along(given, counted(index, rows), dim=axis, rows=rows)
    if added.shape != input.shape:
        part = _leading(input, added.shape, -1) + added
        zeros = (0,) * input.ndim
        return place(input, part, starts=(zeros,), steps=((1,) * input.ndim,))
    return input + added


@method("index_add")
def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor:
    """Return x with alpha * source[j] added to x[index[j]] along a dim, in order of j.

    Errors: DTypeError, ShapeError.

    >>> import clnet as cn
    >>> cn.zeros(2, 2).index_add(0, cn.tensor([1, 1]), cn.ones(2, 2))
    tensor([[0., 0.],
            [2., 2.]])
    """
    axis = as_dim("index_add", dim, input.ndim)
    rows = input.shape[axis]
    added = segment_sum(source, counted(index, rows), dim=axis, rows=rows)
    if added.node.spec != input.node.spec:
        raise ShapeError(
            f"index_add: cannot add {source.node.spec} to {input.node.spec} along {dim}; "
            "needs the same dtype, and equal sizes but for that dim"
        )
    return input + (added if alpha == 1 else added * alpha)
