"""Cumulative sums along a dim."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from clnet.core import Tensor, method
from clnet.dtypes import accumulator, as_dtype, int64
from clnet.ops.dims import as_dim
from clnet.ops.elementwise import cast
from clnet.ops.launch import ceil_div, index_type, scalars, work_group
from clnet.ops.views import slice_
from clnet.records import (
    Arg,
    Argument,
    In,
    Launch,
    Layout,
    Op,
    Out,
    Sample,
    Scratch,
    Sizes,
    Spec,
    Target,
    register,
)

# Neighbours along the innermost dim that a work-item of a CPU takes.
_WIDTH = 64


def _kernel(target: Target, out: Spec, ins: tuple[Layout, ...], dim: int) -> list[Launch]:
    x = ins[0]
    if not out.size:
        return []
    outer, n, inner = prod(x.shape[:dim]), x.shape[dim], prod(x.shape[dim + 1 :])
    index = index_type(x)
    local = work_group(target)
    # Neighbours along the innermost dim that a work-item takes; a group of GPUs may take a row.
    width = _WIDTH if target.type == "cpu" else 1
    rows = local > 1 and inner == 1
    defines: tuple[tuple[str, str], ...] = (
        ("X", x.dtype.name),
        ("Y", out.dtype.name),
        ("REDUCE", "sum"),
        ("INDEX", index),
        ("LOCAL", str(local)),
    )
    if not rows:
        defines = (*defines, ("WIDTH", str(width)))
    columns = ceil_div(inner, width)
    wanted = 4 * target.compute_units if target.type == "cpu" else 256 * target.compute_units
    least = 256
    if rows:
        wanted, least = 8 * target.compute_units, 32 * local
    # Every chunk but the first adds up the totals before it, so there are not too many of them.
    chunks = max(1, min(ceil_div(wanted, columns * outer), n // least, 256))
    length = ceil_div(n, chunks)
    chunks = ceil_div(n, length)
    size = (local if rows else ceil_div(columns, local) * local, outer, chunks)
    numbers = scalars(index, n, inner, length)
    each = accumulator(out.dtype).itemsize
    totals = Scratch("totals", outer * chunks * inner * each, each)
    args: tuple[Argument, ...] = (In(0), totals, Out(), *numbers)
    entry = "scan_group" if rows else "scan_rows" if local == inner == 1 else "scan_chunks"
    last = Launch("scan.cl", entry, defines, args, size, (local, 1, 1))
    if chunks == 1:
        return [last]
    first: tuple[Argument, ...] = (In(0), totals, *numbers)
    entry = "scan_group_totals" if rows else "scan_totals"
    return [Launch("scan.cl", entry, defines, first, size, (local, 1, 1)), last]


def _reference(x: Any, dim: int) -> Any:
    x = np.asarray(x)
    if x.dtype.kind == "f":
        return np.cumsum(x, axis=dim, dtype=np.float64).astype(x.dtype)
    return np.cumsum(x, axis=dim, dtype=np.int64)


def _reversed(x: Any, dim: int) -> Any:
    if not x.shape[dim]:
        return x
    starts = tuple(n - 1 if i == dim else 0 for i, n in enumerate(x.shape))
    steps = tuple(-1 if i == dim else 1 for i in range(x.ndim))
    return slice_(x, starts=starts, steps=steps, sizes=x.shape)


cumsum_: Op = register(
    Op(
        "cumsum",
        "Sums of the elements up to each along a dim; integers and bool give int64.",
        lambda x, dim: Spec(x.shape, x.dtype if x.dtype.kind == "f" else int64),
        _reference,
        (
            Sample((Arg((2, 3)),), {"dim": 1}),
            Sample((Arg((3, 2, 2)),), {"dim": 0}),
            Sample((Arg((600,)),), {"dim": 0}, grad=False),
        ),
        (lambda d, r, x, dim: _reversed(cumsum_(_reversed(d, dim), dim=dim), dim),),
        kernel=_kernel,
        sizes=Sizes(
            lambda rows, columns: Sample((Arg((rows, columns)),), {"dim": 1}),
            ((256, 256), (4096, 4096)),
        ),
        cost=lambda out, x, dim: (
            float(x.size),
            float(x.size * (x.dtype.itemsize + out.dtype.itemsize)),
        ),
    )
)


@method("cumsum")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return y with y[t] = x[0] + .. + x[t] along a dim, computed in `dtype` if given.

    Integers and bool are summed in int64; the rounding error of floats does not grow with t.
    Errors: IndexOutOfRange.

    >>> import clnet as cn
    >>> cn.tensor([1, 2, 3]).cumsum(0)
    tensor([1, 3, 6])
    """
    if dtype is not None and as_dtype(dtype) is not input.dtype:
        input = cast(input, dtype=as_dtype(dtype))
    axis = as_dim("cumsum", dim, input.ndim)
    if not input.ndim:
        return input + 0 if input.dtype.kind == "f" else cast(input, dtype=int64)
    return cumsum_(input, dim=axis)
