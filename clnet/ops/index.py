"""Reading and summing by index: take, gather, and the deterministic sums that undo them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from clnet.dtypes import accumulator, int32, int64
from clnet.errors import DTypeError, ShapeError
from clnet.ops.elementwise import where
from clnet.ops.launch import (
    WORDS,
    ceil_div,
    fill,
    index_type,
    launch_1d,
    missing,
    scalars,
    share,
    work_group,
)
from clnet.ops.sort import sort_launches
from clnet.ops.views import copy_to_result
from clnet.records import (
    Arg,
    Argument,
    In,
    Launch,
    Layout,
    Op,
    Out,
    Sample,
    Scalar,
    Scratch,
    Sizes,
    Spec,
    Target,
    register,
)

# Outputs of a work-item along the innermost dimension: as in kernels/index.cl.
_SEGMENT_WIDTH = 64
# Rows and their width, of an embedding for instance, for benchmarks.
_ROWS = ((1024, 64), (16384, 256))
# Neighbours that a group of a CPU adds side by side, if their sums fit its caches.
_ADD_WIDTH, _ADD_BYTES = 16, 1 << 20


def _check_index(name: str, index: Spec) -> None:
    if index.dtype not in (int32, int64):
        raise DTypeError(f"{name}: got an index {index}; needs int32 or int64")


def _sizes(shape: tuple[int, ...], dim: int) -> tuple[int, int, int]:
    """Return the number of elements before, along and after a dim."""
    return prod(shape[:dim]), shape[dim], prod(shape[dim + 1 :])


# --- take ----------------------------------------------------------------------------------------
def _take_spec(x: Spec, index: Spec, dim: int) -> Spec:
    _check_index("take", index)
    if index.ndim != 1 or not x.ndim:
        raise ShapeError(f"take: cannot take {index} of {x}; needs an index of 1 dimension")
    shape = (*x.shape[:dim], *index.shape, *x.shape[dim + 1 :])
    if prod(shape) and not x.shape[dim]:
        raise ShapeError(f"take: got {x}, no elements along {dim}; needs at least one")
    return Spec(shape, x.dtype)


def _take_kernel(target: Target, out: Spec, ins: tuple[Layout, ...], dim: int) -> list[Launch]:
    x, index = ins
    _, rows, inner = _sizes(x.shape, dim)
    count = index.shape[0]
    if not out.size:
        return []
    kind = index_type(x, out)
    word = WORDS[x.dtype.itemsize]
    defines = (("WORD", word), ("I", index.dtype.name), ("INDEX", kind))
    by_rows = target.type == "cpu" and inner > 1
    units, cost = (out.size // inner, inner) if by_rows else (out.size, 1)
    each = share(target, units, cost)
    args: tuple[Argument, ...] = (
        In(0),
        In(1),
        Out(),
        *scalars(kind, out.size, rows, inner, count, each),
        Scalar(word, missing(x.dtype)),
    )
    if by_rows:
        groups = (ceil_div(units, each),)
        return [Launch("index.cl", "take_rows", defines, args, groups, (1,))]
    return [launch_1d("index.cl", "take", defines, args, ceil_div(units, each), work_group(target))]


def counted(index: Any, rows: int) -> Any:
    """Return an index with those below 0 counted from the end."""
    return where(index < 0, index + rows, index)


take_: Op = register(
    Op(
        "take",
        "Elements along a dim chosen by a 1-D index; negative ones count from the end.",
        _take_spec,
        lambda x, index, dim: np.take(x, index, axis=dim),
        (
            Sample((Arg((4, 3)), Arg((5,), -4, 3.9, "int64")), {"dim": 0}),
            Sample((Arg((2, 3, 2)), Arg((4,), 0, 2.9, "int32")), {"dim": 1}),
            Sample((Arg((5,)), Arg((3,), 0, 4.9, "int64")), {"dim": 0}),
        ),
        (
            lambda d, r, x, index, dim: segment_sum(
                d, counted(index, x.shape[dim]), dim=dim, rows=x.shape[dim]
            ),
            None,
        ),
        kernel=_take_kernel,
        sizes=Sizes(
            lambda rows, width: Sample(
                (Arg((rows, width)), Arg((rows,), 0, rows - 0.1, "int64")), {"dim": 0}
            ),
            _ROWS,
        ),
        cost=lambda out, x, index, dim: (0.0, 2.0 * out.size * out.dtype.itemsize),
    )
)


# --- put_rows ------------------------------------------------------------------------------------
def _put_spec(base: Spec, index: Spec, rows: Spec) -> Spec:
    _check_index("put_rows", index)
    fitting = Spec((*index.shape, *base.shape[1:]), base.dtype)
    if not base.ndim or index.ndim != 1 or rows != fitting:
        raise ShapeError(
            f"put_rows: cannot put {rows} at {index} of {base}; needs a row for each index"
        )
    return base


def _put_kernel(target: Target, out: Spec, ins: tuple[Layout, ...]) -> list[Launch]:
    base, index, _ = ins
    if not out.size:
        return []
    copied = copy_to_result(target, base)
    count = index.shape[0]
    if not count:
        return [copied]
    _, rows, inner = _sizes(base.shape, 0)
    kind = index_type(base, out)
    defines = (("WORD", WORDS[base.dtype.itemsize]), ("I", index.dtype.name), ("INDEX", kind))
    each, local = (inner, 1) if target.type == "cpu" else (1, work_group(target))
    args: tuple[Argument, ...] = (In(1), In(2), Out(), *scalars(kind, rows, inner, each))
    put = launch_1d("index.cl", "put_rows", defines, args, ceil_div(inner, each), local)
    size = (*put.global_size, count)
    return [copied, Launch(put.file, put.entry, put.defines, put.args, size, (local, 1))]


def _put_reference(base: Any, index: Any, rows: Any) -> Any:
    out = np.array(base)
    inside = (index >= 0) & (index < len(out))
    out[index[inside]] = np.asarray(rows)[inside]
    return out


def _put_vjp(i: int, d: Any, r: Any, base: Any, index: Any, rows: Any) -> Any:
    if i == 0:
        return put_rows(d, index, rows.new_zeros(rows.shape))
    inside = (index >= 0) & (index < base.shape[0])
    taken = take_(d, where(inside, index, 0), dim=0)
    return where(inside.reshape(-1, *(1,) * (d.ndim - 1)), taken, 0)


put_rows: Op = register(
    Op(
        "put_rows",
        "Replaces rows of a table by a 1-D index of distinct numbers; those outside are dropped.",
        _put_spec,
        _put_reference,
        (
            Sample((Arg((4, 3)), Arg((1,), 0, 3.9, "int64"), Arg((1, 3)))),
            Sample((Arg((3, 2, 2)), Arg((1,), 0, 5.9, "int32"), Arg((1, 2, 2)))),
        ),
        _put_vjp,
        kernel=_put_kernel,
        overwrites=True,
        sizes=Sizes(
            lambda rows, width: Sample(
                (Arg((rows, width)), Arg((1,), 0, rows - 0.1, "int64"), Arg((1, width)))
            ),
            _ROWS,
        ),
        cost=lambda out, base, index, rows: (0.0, 2.0 * rows.size * rows.dtype.itemsize),
    )
)


# --- segment_sum: the gradient of take -----------------------------------------------------------
def _segment_spec(x: Spec, index: Spec, dim: int, rows: int) -> Spec:
    _check_index("segment_sum", index)
    if index.shape != x.shape[dim : dim + 1]:
        raise ShapeError(
            f"segment_sum: cannot sum {x} by an index {index} along {dim}; "
            f"needs {index.dtype.name}[{x.shape[dim]}]"
        )
    return Spec((*x.shape[:dim], rows, *x.shape[dim + 1 :]), x.dtype)


def _segment_kernel(
    target: Target, out: Spec, ins: tuple[Layout, ...], dim: int, rows: int
) -> list[Launch]:
    x, index = ins
    outer, count, inner = _sizes(x.shape, dim)
    if not count:
        return fill(target, out, 0)
    if not out.size:
        return []
    order = Scratch("order", count * 8, 8)
    kind = index_type(x, out)
    defines = (("X", x.dtype.name), ("I", index.dtype.name), ("INDEX", kind))
    local = work_group(target)
    each = share(target, outer * rows, min(inner, _SEGMENT_WIDTH))
    items = ceil_div(outer * rows, each)
    numbers = scalars(kind, outer, rows, inner, count, each)
    first = launch_1d(
        "index.cl", "segment_sum", defines, (In(0), In(1), order, Out(), *numbers), items, local
    )
    size = (first.global_size[0], ceil_div(inner, _SEGMENT_WIDTH))
    summed = Launch(first.file, first.entry, first.defines, first.args, size, (local, 1))
    return [*sort_launches(target, index, In(1), order, 1, count, 1, False), summed]


def _segment_reference(x: Any, index: Any, dim: int, rows: int) -> Any:
    moved = np.moveaxis(np.asarray(x), dim, 0)
    out = np.zeros((rows, *moved.shape[1:]), x.dtype)
    inside = (index >= 0) & (index < rows)
    np.add.at(out, index[inside], moved[inside])
    return np.moveaxis(out, 0, dim)


segment_sum: Op = register(
    Op(
        "segment_sum",
        "Sums along a dim of the elements with equal index, in order; others are dropped.",
        _segment_spec,
        _segment_reference,
        (
            Sample((Arg((5, 3)), Arg((5,), 0, 3.9, "int64")), {"dim": 0, "rows": 4}),
            Sample((Arg((2, 6, 2)), Arg((6,), 0, 2.9, "int32")), {"dim": 1, "rows": 3}),
        ),
        (lambda d, r, x, index, dim, rows: take_(d, index, dim=dim), None),
        kernel=_segment_kernel,
        sizes=Sizes(
            lambda rows, width: Sample(
                (Arg((rows, width)), Arg((rows,), 0, rows - 0.1, "int64")),
                {"dim": 0, "rows": rows},
            ),
            _ROWS,
        ),
        cost=lambda out, x, index, dim, rows: (
            float(x.size),
            float((x.size + out.size) * x.dtype.itemsize),
        ),
    )
)


# --- take_along and its inverse ------------------------------------------------------------------
def _along_spec(x: Spec, index: Spec, dim: int) -> Spec:
    _check_index("gather", index)
    same = x.ndim == index.ndim and all(
        i == dim or n == m for i, (n, m) in enumerate(zip(x.shape, index.shape, strict=True))
    )
    if not same:
        raise ShapeError(
            f"gather: cannot gather {index} of {x} along {dim}; needs equal sizes but for {dim}"
        )
    if index.size and not x.shape[dim]:
        raise ShapeError(f"gather: got {x}, no elements along {dim}; needs at least one")
    return Spec(index.shape, x.dtype)


def _along_kernel(target: Target, out: Spec, ins: tuple[Layout, ...], dim: int) -> list[Launch]:
    x, index = ins
    _, rows, inner = _sizes(x.shape, dim)
    if not out.size:
        return []
    kind = index_type(x, out)
    word = WORDS[x.dtype.itemsize]
    defines = (("WORD", word), ("I", index.dtype.name), ("INDEX", kind))
    each = share(target, out.size, 1)
    args: tuple[Argument, ...] = (
        In(0),
        In(1),
        Out(),
        *scalars(kind, out.size, rows, inner, index.shape[dim], each),
        Scalar(word, missing(x.dtype)),
    )
    items = ceil_div(out.size, each)
    return [launch_1d("index.cl", "take_along", defines, args, items, work_group(target))]


take_along: Op = register(
    Op(
        "take_along",
        "Elements along a dim, chosen for each position by an index of as many dims.",
        _along_spec,
        lambda x, index, dim: np.take_along_axis(x, index, dim),
        (
            Sample((Arg((4, 3)), Arg((2, 3), 0, 3.9, "int64")), {"dim": 0}),
            Sample((Arg((2, 3, 2)), Arg((2, 5, 2), -3, 2.9, "int64")), {"dim": 1}),
        ),
        (
            lambda d, r, x, index, dim: segment_sum_along(
                d, counted(index, x.shape[dim]), dim=dim, rows=x.shape[dim]
            ),
            None,
        ),
        kernel=_along_kernel,
        sizes=Sizes(
            lambda rows, width: Sample(
                (Arg((rows, width)), Arg((rows, width), 0, rows - 0.1, "int64")), {"dim": 0}
            ),
            _ROWS,
        ),
        cost=lambda out, x, index, dim: (0.0, 2.0 * out.size * out.dtype.itemsize),
    )
)


def _segment_along_spec(x: Spec, index: Spec, dim: int, rows: int) -> Spec:
    _check_index("scatter_add", index)
    if index.shape != x.shape:
        raise ShapeError(f"scatter_add: cannot add {x} by an index {index}; needs the same shape")
    return Spec((*x.shape[:dim], rows, *x.shape[dim + 1 :]), x.dtype)


def _segment_along_kernel(
    target: Target, out: Spec, ins: tuple[Layout, ...], dim: int, rows: int
) -> list[Launch]:
    x, index = ins
    outer, count, inner = _sizes(x.shape, dim)
    if not count:
        return fill(target, out, 0)
    if not out.size:
        return []
    kind = index_type(x, out)
    defines = (("X", x.dtype.name), ("I", index.dtype.name), ("INDEX", kind))
    args: tuple[Argument, ...]
    if target.type == "cpu":
        each = accumulator(x.dtype).itemsize
        width = _ADD_WIDTH if inner > 1 and 2 * rows * each * _ADD_WIDTH <= _ADD_BYTES else 1
        groups = min(outer * ceil_div(inner, width), 4 * target.compute_units)
        sums = Scratch("sums", groups * 2 * rows * width * each, each)
        args = (In(0), In(1), sums, Out(), *scalars(kind, outer, rows, inner, count))
        wide = (*defines, ("WIDTH", str(width)))
        return [Launch("index.cl", "segment_add_along", wide, args, (groups,), (1,))]
    order = Scratch("order", outer * inner * count * 8, 8)
    args = (
        In(0),
        In(1),
        order,
        Out(),
        *scalars(kind, outer, rows, inner, count),
    )
    items, local = outer * inner, work_group(target)
    return [
        *sort_launches(target, index, In(1), order, items, count, inner, False),
        launch_1d("index.cl", "segment_sum_along", defines, args, items, local),
    ]


def _segment_along_reference(x: Any, index: Any, dim: int, rows: int) -> Any:
    x = np.asarray(x)
    shape = list(x.shape)
    shape[dim] = rows
    out = np.zeros(shape, x.dtype)
    at = list(np.indices(x.shape))
    at[dim] = index
    np.add.at(out, tuple(at), x)
    return out


segment_sum_along: Op = register(
    Op(
        "segment_sum_along",
        "Sums along a dim of the elements with equal index there, in order; others are dropped.",
        _segment_along_spec,
        _segment_along_reference,
        (
            Sample((Arg((5, 3)), Arg((5, 3), 0, 3.9, "int64")), {"dim": 0, "rows": 4}),
            Sample((Arg((2, 6, 2)), Arg((2, 6, 2), 0, 2.9, "int32")), {"dim": 1, "rows": 3}),
        ),
        (lambda d, r, x, index, dim, rows: take_along(d, index, dim=dim), None),
        kernel=_segment_along_kernel,
        sizes=Sizes(
            lambda rows, width: Sample(
                (Arg((rows, width)), Arg((rows, width), 0, rows - 0.1, "int64")),
                {"dim": 0, "rows": rows},
            ),
            _ROWS,
        ),
        cost=lambda out, x, index, dim, rows: (
            float(x.size),
            float((x.size + out.size) * x.dtype.itemsize),
        ),
    )
)
