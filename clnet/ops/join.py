"""Several tensors made one, and one made larger: concatenation, padding, rolling, triangles."""

from __future__ import annotations

from collections.abc import Sequence

from clnet.core import Tensor, method
from clnet.dtypes import as_dtype, result_type
from clnet.errors import ShapeError
from clnet.ops.create import arange, filled
from clnet.ops.dims import as_dim, as_dims, as_sizes
from clnet.ops.elementwise import cast, where
from clnet.ops.movement import Dims, expand, flatten, reshape, unsqueeze
from clnet.ops.parts import flip, narrow, split
from clnet.ops.views import place


# --- concatenation -------------------------------------------------------------------------------
def _alike(name: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors brought to their common dtype. Errors: ShapeError, DTypeError."""
    if isinstance(tensors, Tensor):
        tensors = tensors.unbind()
    wrong = next((x for x in tensors if not isinstance(x, Tensor)), None)
    if wrong is not None:
        raise TypeError(f"{name}: got a {type(wrong).__name__} among the tensors; needs tensors")
    if not tensors:
        raise ShapeError(f"{name}: got no tensors; needs one or more")
    dtype = result_type([(x.dtype, x.ndim) for x in tensors], [])
    return [x if x.dtype is dtype else cast(x, dtype=dtype) for x in tensors]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along a dimension; their other sizes must agree.

    Dtypes are promoted. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.cat([cn.tensor([1, 2]), cn.tensor([3])])
    tensor([1, 2, 3])
    """
    alike = _alike("cat", tensors)
    # As in PyTorch, vectors without elements join anything.
    parts = [x for x in alike if x.shape != (0,)] or alike[:1]
    first = parts[0]
    if not first.ndim:
        raise ShapeError("cat: got a 0-d tensor; needs a dimension to join along (use cn.stack)")
    at = as_dim("cat", dim, first.ndim)
    for i, x in enumerate(parts):
        rest = (*x.shape[:at], *x.shape[at + 1 :])
        if x.ndim != first.ndim or rest != (*first.shape[:at], *first.shape[at + 1 :]):
            raise ShapeError(
                f"cat: cannot join {first.node.spec} and {x.node.spec} (tensor {i + 1}) along "
                f"dimension {dim}; needs equal sizes in all others"
            )
    if len(parts) == 1:
        return first.clone()
    sizes = [x.shape[at] for x in parts]
    total = (*first.shape[:at], sum(sizes), *first.shape[at + 1 :])
    lead, rest_ = (0,) * at, (0,) * (first.ndim - at - 1)
    base = filled("cat", total, 0, first.dtype, first.node.device)
    starts = tuple((*lead, sum(sizes[:i]), *rest_) for i in range(len(sizes)))
    return place(base, *parts, starts=starts, steps=((1,) * first.ndim,) * len(parts))


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along a dimension: `cat` by NumPy's name."""
    return cat(tensors, dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.stack([cn.tensor([1, 2]), cn.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    alike = _alike("stack", tensors)
    for i, x in enumerate(alike):
        if x.shape != alike[0].shape:
            raise ShapeError(
                f"stack: cannot stack {alike[0].node.spec} and {x.node.spec} (tensor {i + 1}); "
                "needs equal shapes"
            )
    at = as_dim("stack", dim, alike[0].ndim + 1)
    return cat([unsqueeze(x, at) for x in alike], at)


def _at_least_1d(x: Tensor) -> Tensor:
    return x if x.ndim else reshape(x, 1)


def _at_least_2d(x: Tensor) -> Tensor:
    return x if x.ndim > 1 else reshape(x, 1, -1)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join side by side: along dimension 1, vectors along 0."""
    alike = [_at_least_1d(x) for x in _alike("hstack", tensors)]
    return cat(alike, 0 if alike[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join one below the other: along dimension 0, vectors as rows."""
    return cat([_at_least_2d(x) for x in _alike("vstack", tensors)], 0)


def meshgrid(*tensors: Tensor, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Expand vectors to the grid that they span; "xy" exchanges the first two dimensions."""
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing is {indexing!r}; needs 'ij' or 'xy'")
    for x in tensors:
        if x.ndim > 1:
            raise ShapeError(f"meshgrid: got {x.node.spec}; needs vectors")
    vectors = [_at_least_1d(x) for x in tensors]
    shape = [x.shape[0] for x in vectors]
    swap = indexing == "xy" and len(vectors) > 1
    results = []
    for i, x in enumerate(vectors):
        column = reshape(x, *(n if j == i else 1 for j, n in enumerate(shape)))
        grid = expand(column, *shape)
        results.append(grid.transpose(0, 1) if swap else grid)
    return tuple(results)


# --- padding, rolling ----------------------------------------------------------------------------
def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Add elements around a tensor: (before, after) of the last dimension, then of the one before.

    mode "constant" adds `value` (0); "reflect" mirrors without the edge, "replicate" repeats the
    edge, "circular" continues at the other end. Negative numbers cut. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.functional.pad(cn.tensor([1, 2, 3]), (1, 2), value=9)
    tensor([9, 1, 2, 3, 9, 9])
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(
            f"pad: {list(pad)} for {input.node.spec}; needs pairs, at most {input.ndim} of them"
        )
    result = input
    for i in range(len(pad) // 2):
        dim, before, after = input.ndim - 1 - i, pad[2 * i], pad[2 * i + 1]
        cut = narrow(
            result,
            dim,
            max(-before, 0),
            result.shape[dim] - max(-before, 0) - max(-after, 0),
        ) if before < 0 or after < 0 else result  # fmt: skip
        result = _padded(cut, dim, max(before, 0), max(after, 0), mode, value)
    return result


def _padded(x: Tensor, dim: int, before: int, after: int, mode: str, value: float | None) -> Tensor:
    n = x.shape[dim]
    if before == after == 0:
        return x
    if mode == "constant":
        shape = (*x.shape[:dim], before + n + after, *x.shape[dim + 1 :])
        base = filled("pad", shape, value or 0, x.dtype, x.node.device)
        start = tuple(before if d == dim else 0 for d in range(x.ndim))
        return place(base, x, starts=(start,), steps=((1,) * x.ndim,))
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(
            f"pad: mode is {mode!r}; needs 'constant', 'reflect', 'replicate' or 'circular'"
        )
    most = {"reflect": n - 1, "circular": n, "replicate": max(before, after) if n else 0}[mode]
    if max(before, after) > most:
        raise ShapeError(
            f"pad: {before} and {after} elements by {mode} at dimension {dim} of {x.node.spec}; "
            f"needs at most {most}"
        )
    if mode == "replicate":
        sizes = [-1] * x.ndim
        left = expand(narrow(x, dim, 0, 1), *sizes[:dim], before, *sizes[dim + 1 :])
        right = expand(narrow(x, dim, n - 1, 1), *sizes[:dim], after, *sizes[dim + 1 :])
    elif mode == "circular":
        left, right = narrow(x, dim, n - before, before), narrow(x, dim, 0, after)
    else:
        left = flip(narrow(x, dim, 1, before), dim)
        right = flip(narrow(x, dim, n - 1 - after, after), dim)
    return cat([left, x, right], dim)


@method("roll")
def roll(input: Tensor, shifts: Dims, dims: Dims | None = None) -> Tensor:
    """Shift elements along dimensions, around the end; without dims, of the flattened tensor.

    >>> import clnet as cn
    >>> cn.arange(4).roll(1)
    tensor([3, 0, 1, 2])
    """
    if dims is None:
        if not isinstance(shifts, int):
            raise ShapeError(f"roll: shifts {shifts} without dims; needs one shift")
        return reshape(roll(flatten(input), shifts, 0), *input.shape)
    by = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = as_dims("roll", (dims,) if isinstance(dims, int) else dims, input.ndim)
    if len(by) != len(along):
        raise ShapeError(f"roll: shifts {shifts} along dims {dims}; needs as many of each")
    result = input
    for shift, dim in zip(by, along, strict=True):
        n = result.shape[dim]
        at = -shift % n if n else 0
        if at:
            head, tail = split(result, [at, n - at], dim)
            result = cat([tail, head], dim)
    return result if result is not input else input.clone()


# --- triangles, diagonals ------------------------------------------------------------------------
def _below(input: Tensor, diagonal: int, name: str) -> Tensor:
    """Return where column - row <= diagonal, for the last two dimensions."""
    if input.ndim < 2:
        raise ShapeError(f"{name}: got {input.node.spec}; needs 2 dimensions or more")
    rows, columns = input.shape[-2:]
    int32 = as_dtype("int32")
    row = arange(rows, dtype=int32, device=input.device)
    column = arange(columns, dtype=int32, device=input.device)
    return column <= unsqueeze(row, 1) + diagonal


@method("tril")
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Keep the lower triangle of the last two dimensions, up to a diagonal; the rest is 0.

    >>> import clnet as cn
    >>> cn.ones(2, 2).tril()
    tensor([[1., 0.],
            [1., 1.]])
    """
    return where(_below(input, diagonal, "tril"), input, False)


@method("triu")
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Keep the upper triangle of the last two dimensions, from a diagonal on; the rest is 0."""
    return where(_below(input, diagonal - 1, "triu"), False, input)


@method("diag")
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the matrix with a vector on a diagonal, or a diagonal of a matrix."""
    if input.ndim == 2:
        return input.diagonal(diagonal)
    if input.ndim != 1:
        raise ShapeError(f"diag: got {input.node.spec}; needs a vector or a matrix")
    n = input.shape[0] + abs(diagonal)
    base = filled("diag", (n * n,), 0, input.dtype, input.node.device)
    first = diagonal if diagonal >= 0 else -diagonal * n
    flat = place(base, input, starts=((first if input.shape[0] else 0,),), steps=((n + 1,),))
    return reshape(flat, *as_sizes("diag", (n, n)))
