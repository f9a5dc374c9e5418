"""Parts of a tensor along its dimensions: all of them views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from clnet.core import Tensor, method
from clnet.errors import IndexOutOfRange, ShapeError
from clnet.ops import views
from clnet.ops.dims import as_dim, as_dims, as_sizes


def part_of(input: Tensor, dim: int, start: int, step: int, size: int) -> Tensor:
    """Take `size` elements along one dimension, every `step`-th from `start`, as a view."""
    n = input.ndim
    return views.slice_(
        input,
        starts=(0,) * dim + (start,) + (0,) * (n - dim - 1),
        steps=(1,) * dim + (step,) + (1,) * (n - dim - 1),
        sizes=(*input.shape[:dim], size, *input.shape[dim + 1 :]),
    )


@method("flip")
def flip(input: Tensor, *dims: Any) -> Tensor:
    """Reverse the order along dimensions. A view."""
    given = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    for dim in as_dims("flip", given, input.ndim):
        if input.ndim:
            n = input.shape[dim]
            input = part_of(input, dim, max(n - 1, 0), -1, n)
    return input


@method("narrow")
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Take `length` elements along a dimension, from `start`. A view. Errors: IndexOutOfRange."""
    at = as_dim("narrow", dim, input.ndim)
    n = input.shape[at] if input.ndim else 0
    first = start + n if start < 0 else start
    if not (first >= 0 and length >= 0 and first + length <= n):
        raise IndexOutOfRange(
            f"narrow: {length} elements from {start} along dimension {dim} of {input.node.spec}; "
            f"it has {n}"
        )
    return part_of(input, at, first, 1, length)


@method("select")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Take one index of a dimension, which goes away. A view. Errors: IndexOutOfRange."""
    at = as_dim("select", dim, input.ndim)
    n = input.shape[at] if input.ndim else 0
    if not -n <= index < n:
        raise IndexOutOfRange(
            f"select: index {index} along dimension {dim} of {input.node.spec}; it has {n}"
        )
    one = part_of(input, at, index % n, 1, 1)
    return views.reshape(one, shape=(*input.shape[:at], *input.shape[at + 1 :]))


@method("split")
def split(
    input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Cut a dimension into parts of one size (the last may be smaller), or of the sizes given.

    Views. Errors: ShapeError where the sizes do not add up.

    >>> import clnet as cn
    >>> [x.shape for x in cn.zeros(5).split(2)]
    [(2,), (2,), (1,)]
    """
    at = as_dim("split", dim, input.ndim)
    if not input.ndim:
        raise ShapeError(f"split: got {input.node.spec}; needs a dimension to cut")
    n = input.shape[at]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and n):
            raise ShapeError(f"split: parts of {size}; needs a size above 0")
        sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    else:
        sizes = list(as_sizes("split", (tuple(split_size_or_sections),)))
        if sum(sizes) != n:
            raise ShapeError(
                f"split: sizes {sizes} for dimension {dim} of {input.node.spec}; "
                f"needs sizes that add up to {n}"
            )
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(part_of(input, at, a, 1, m) for a, m in zip(starts, sizes, strict=True))


@method("chunk")
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a dimension into at most `chunks` parts of equal size (the last may be smaller)."""
    at = as_dim("chunk", dim, input.ndim)
    if chunks < 1:
        raise ShapeError(f"chunk: {chunks} chunks; needs 1 or more")
    n = input.shape[at] if input.ndim else 0
    if n == 0:
        return split(input, [0] * chunks, at)
    return split(input, -(-n // chunks), at)


@method("unbind")
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return the slices along a dimension, which goes away. Views."""
    if not input.ndim:
        raise ShapeError(f"unbind: got {input.node.spec}; needs a dimension")
    at = as_dim("unbind", dim, input.ndim)
    return tuple(select(input, at, i) for i in range(input.shape[at]))


@method("__iter__")
def _iterate(input: Tensor) -> Iterator[Tensor]:
    if not input.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(input))


@method("diagonal")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return the diagonals of two dimensions as the last one; offset > 0 lies above. A view."""
    a, b = (as_dim("diagonal", d, input.ndim) for d in (dim1, dim2))
    if a == b or input.ndim < 2:
        raise ShapeError(f"diagonal: dimensions {dim1}, {dim2} of {input.node.spec}; needs two")
    rest = [d for d in range(input.ndim) if d not in (a, b)]
    x = views.permute(input, dims=(*rest, a, b))
    *lead, rows, columns = x.shape
    size = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    if size == 0:
        return x.new_zeros((*lead, 0))
    # Row i, column i of the square that begins where the diagonal does: every (size + 1)-th of its
    # elements.
    first = [0] * len(lead) + [max(-offset, 0), max(offset, 0)]
    square = views.slice_(x, starts=tuple(first), steps=(1,) * x.ndim, sizes=(*lead, size, size))
    flat = views.reshape(square, shape=(*lead, size * size))
    return part_of(flat, len(lead), 0, size + 1, size)
