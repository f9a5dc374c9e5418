"""Another shape: reshaping, reordering and repeating dimensions; views, where strides allow."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from clnet.binding import broadcast_shapes
from clnet.core import Tensor, method
from clnet.errors import ShapeError
from clnet.ops import views
from clnet.ops.dims import as_dim, as_dims, as_sizes, inferred

Dims = int | Sequence[int]


# --- shape ---------------------------------------------------------------------------------------
@method("reshape")
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """Give the elements, in row-major order, another shape; one size may be -1.

    A view; it copies only where strides require. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.arange(6).reshape(2, -1).shape
    (2, 3)
    """
    sizes = as_sizes("reshape", shape, -1)
    return views.reshape(input, shape=inferred("reshape", sizes, input.node.spec.size, input))


@method("view")
def view(input: Tensor, *shape: Any) -> Tensor:
    """Give the elements another shape: `reshape`, which in clnet always writes through."""
    sizes = as_sizes("view", shape, -1)
    return views.reshape(input, shape=inferred("view", sizes, input.node.spec.size, input))


@method("reshape_as")
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """Give the elements the shape of another tensor."""
    return views.reshape(input, shape=other.shape)


@method("flatten")
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dimensions from start_dim to end_dim into one."""
    first = as_dim("flatten", start_dim, input.ndim)
    last = as_dim("flatten", end_dim, input.ndim)
    if first > last:
        raise ShapeError(f"flatten: start_dim {start_dim} lies after end_dim {end_dim}")
    shape = input.shape
    merged = prod(shape[first : last + 1])
    return views.reshape(input, shape=(*shape[:first], merged, *shape[last + 1 :]))


@method("ravel")
def ravel(input: Tensor) -> Tensor:
    """Return the elements in row-major order as a vector."""
    return flatten(input)


@method("unflatten")
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split a dimension into several; one of their sizes may be -1."""
    at = as_dim("unflatten", dim, input.ndim)
    wanted = as_sizes("unflatten", (tuple(sizes),), -1)
    parts = inferred("unflatten", wanted, input.shape[at], f"dimension {dim} of {input.node.spec}")
    if prod(parts) != input.shape[at]:
        raise ShapeError(
            f"unflatten: cannot split dimension {dim} of {input.node.spec} into {list(parts)}; "
            f"needs sizes whose product is {input.shape[at]}"
        )
    return views.reshape(input, shape=(*input.shape[:at], *parts, *input.shape[at + 1 :]))


@method("unsqueeze")
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert a dimension of size 1 at `dim`."""
    at = as_dim("unsqueeze", dim, input.ndim + 1)
    return views.reshape(input, shape=(*input.shape[:at], 1, *input.shape[at:]))


@method("squeeze")
def squeeze(input: Tensor, dim: Dims | None = None) -> Tensor:
    """Remove the dimensions of size 1, or those of them that `dim` names."""
    dims = range(input.ndim) if dim is None else _dims("squeeze", dim, input.ndim)
    kept = (n for i, n in enumerate(input.shape) if n != 1 or i not in dims)
    return views.reshape(input, shape=tuple(kept))


def _dims(name: str, dim: Dims, ndim: int) -> tuple[int, ...]:
    return as_dims(name, (dim,) if isinstance(dim, int) else tuple(dim), ndim)


# --- order ---------------------------------------------------------------------------------------
@method("permute")
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Reorder the dimensions: `x.permute(2, 0, 1)`. A view. Errors: ShapeError, IndexOutOfRange."""
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return views.permute(input, dims=tuple(as_dim("permute", d, input.ndim) for d in order))


@method("transpose")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchange two dimensions. A view. Errors: IndexOutOfRange.

    >>> import clnet as cn
    >>> cn.zeros(2, 3, 4).transpose(0, -1).shape
    (4, 3, 2)
    """
    a, b = (as_dim("transpose", d, input.ndim) for d in (dim0, dim1))
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = b, a
    return views.permute(input, dims=tuple(order))


@method("swapaxes")
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Exchange two dimensions: `transpose` by NumPy's name."""
    return transpose(input, axis0, axis1)


@method("t")
def t(input: Tensor) -> Tensor:
    """Transpose a matrix; vectors and numbers stay as they are. Errors: ShapeError."""
    if input.ndim > 2:
        raise ShapeError(f"t: got {input.node.spec}; needs at most 2 dimensions (use x.mT)")
    return views.permute(input, dims=tuple(reversed(range(input.ndim))))


def _reversed(input: Tensor) -> Tensor:
    """The tensor with its dimensions reversed: the transpose of a matrix."""
    return views.permute(input, dims=tuple(reversed(range(input.ndim))))


def _matrix_transpose(input: Tensor) -> Tensor:
    """The tensor with its last two dimensions exchanged. Errors: ShapeError below 2 dimensions."""
    if input.ndim < 2:
        raise ShapeError(f"mT: got {input.node.spec}; needs 2 dimensions or more")
    return transpose(input, -2, -1)


method("T")(property(_reversed))
method("mT")(property(_matrix_transpose))


@method("movedim")
def movedim(input: Tensor, source: Dims, destination: Dims) -> Tensor:
    """Move dimensions to other places; the others keep their order."""
    from_, to = (_dims("movedim", d, input.ndim) for d in (source, destination))
    if len(from_) != len(to):
        raise ShapeError(
            f"movedim: source {source} and destination {destination}; needs as many of each"
        )
    order = [d for d in range(input.ndim) if d not in from_]
    for place, dim in sorted(zip(to, from_, strict=True)):
        order.insert(place, dim)
    return views.permute(input, dims=tuple(order))


# --- repetition ----------------------------------------------------------------------------------
@method("expand")
def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Repeat dimensions of size 1, and add leading ones, without copying; -1 keeps a size.

    Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.zeros(3, 1).expand(2, -1, 4).shape
    (2, 3, 4)
    """
    wanted = as_sizes("expand", sizes, -1)
    lead = len(wanted) - input.ndim
    if any(n == -1 for n in wanted[: max(lead, 0)]):
        raise ShapeError(
            f"expand: -1 in {list(wanted)} stands for no dimension of {input.node.spec}"
        )
    shape = tuple(input.shape[i - lead] if n == -1 else n for i, n in enumerate(wanted))
    return views.expand(input, shape=shape)


@method("expand_as")
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expand to the shape of another tensor."""
    return views.expand(input, shape=other.shape)


@method("broadcast_to")
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """Expand to a shape: `expand` by NumPy's name."""
    return expand(input, *as_sizes("broadcast_to", (tuple(size),), -1))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Expand tensors to the shape to which they all broadcast."""
    shape = broadcast_shapes("broadcast_tensors", *(x.shape for x in tensors))
    return tuple(views.expand(x, shape=shape) for x in tensors)


@method("repeat")
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Repeat the whole tensor along each dimension; further leading dimensions may be given.

    >>> import clnet as cn
    >>> cn.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    counts = as_sizes("repeat", repeats)
    lead = len(counts) - input.ndim
    if lead < 0:
        raise ShapeError(
            f"repeat: {list(counts)} for {input.node.spec}; needs a count for each dimension"
        )
    shape = (1,) * lead + input.shape
    apart = views.reshape(input, shape=tuple(m for n in shape for m in (1, n)))
    many = views.expand(apart, shape=tuple(m for p in zip(counts, shape, strict=True) for m in p))
    return views.reshape(many, shape=tuple(c * n for c, n in zip(counts, shape, strict=True)))


@method("tile")
def tile(input: Tensor, *dims: Any) -> Tensor:
    """Repeat the whole tensor; counts are those of the last dimensions, as in NumPy."""
    counts = as_sizes("tile", dims)
    return repeat(input, *((1,) * (input.ndim - len(counts)) + counts))


@method("repeat_interleave")
def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Repeat each element (of the flattened tensor, or along `dim`) `repeats` times."""
    if dim is None:
        input, dim = flatten(input), 0
    at = as_dim("repeat_interleave", dim, input.ndim)
    many = unsqueeze(input, at + 1)
    shape = (*input.shape[: at + 1], repeats, *input.shape[at + 1 :])
    return flatten(views.expand(many, shape=shape), at, at + 1)
