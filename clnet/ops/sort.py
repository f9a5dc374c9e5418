"""Stable order along a dim."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from clnet.core import Tensor, method
from clnet.dtypes import int64
from clnet.ops.dims import as_dim
from clnet.ops.launch import Buffer, ceil_div, index_type, launch_1d, scalars, work_group
from clnet.ops.views import permute
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

# Elements that one work-item sorts by insertion before runs are merged.
_RUN = 16
# Rows from this length on are sorted by the bytes of their keys: counting those has a price.
_RADIX_LEAST = 128


def sort_launches(
    target: Target,
    x: Layout,
    source: In,
    result: Buffer,
    rows: int,
    n: int,
    inner: int,
    descending: bool,
) -> list[Launch]:
    """Return the launches that write to `result` (long [rows, n]) the order of each row of x.

    x lies contiguous as [rows / inner, n, inner]; see kernels/sort.cl.
    """
    index = index_type(x)
    local = work_group(target)
    common = (("X", x.dtype.name), ("DESCENDING", str(int(descending))), ("INDEX", index))
    args: tuple[Argument, ...]
    # One core by bytes is as fast as eight that merge.
    if target.type == "cpu" and n >= _RADIX_LEAST and 8 * rows >= target.compute_units:
        groups = min(rows, 4 * target.compute_units)
        key, each = ("ulong", 8) if x.dtype.itemsize == 8 else ("uint", 4)
        place = 4 if index == "int" else 8
        keys = Scratch("keys", groups * 2 * n * each, each)
        places = Scratch("places", groups * 2 * n * place, place)
        args = (source, keys, places, result, *scalars(index, rows, n, inner))
        return [Launch("sort.cl", "sort_radix", (*common, ("KEY", key)), args, (groups,), (1,))]
    defines = (*common, ("SORT_RUN", str(_RUN)))
    runs = [_RUN << i for i in range(max(ceil_div(n, _RUN) - 1, 0).bit_length())]
    # Passes alternate between two buffers, so that the last one writes the result.
    other: Buffer = Scratch("merging", rows * n * 8, 8)
    buffers = [result, other] if len(runs) % 2 == 0 else [other, result]
    items = rows * ceil_div(n, _RUN)
    args = (source, buffers[0], *scalars(index, rows, n, inner))
    launches = [launch_1d("sort.cl", "sort_runs", defines, args, items, local)]
    for step, run in enumerate(runs):
        each = min(2 * run, 4096 if target.type == "cpu" else 16)
        numbers = scalars(index, rows, n, run, each, inner)
        pair = (buffers[step % 2], buffers[(step + 1) % 2])
        items = rows * ceil_div(n, each)
        launches.append(
            launch_1d("sort.cl", "sort_merge", defines, (source, *pair, *numbers), items, local)
        )
    return launches


def _argsort_kernel(
    target: Target, out: Spec, ins: tuple[Layout, ...], descending: bool
) -> list[Launch]:
    x = ins[0]
    if not out.size:
        return []
    n = x.shape[-1]
    return sort_launches(target, x, In(0), Out(), prod(x.shape[:-1]), n, 1, descending)


def _argsort_reference(x: Any, descending: bool) -> Any:
    if not descending:
        return np.argsort(x, axis=-1, kind="stable").astype(np.int64)
    # Stable and descending: sort the reversed row, and read its order backwards.
    backwards = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    return (x.shape[-1] - 1 - backwards).astype(np.int64)


argsort_: Op = register(
    Op(
        "argsort",
        "Stable order of the elements along the last dim; NaN counts as the largest.",
        lambda x, descending: Spec(x.shape, int64),
        _argsort_reference,
        (
            Sample((Arg((3, 7)),), {"descending": False}),
            Sample((Arg((2, 40)),), {"descending": True}),
        ),
        kernel=_argsort_kernel,
        sizes=Sizes(
            lambda rows, columns: Sample((Arg((rows, columns)),), {"descending": False}),
            ((64, 1024), (1, 1 << 20)),
        ),
        cost=lambda out, x, descending: (
            float(x.size * max(x.shape[-1] - 1, 1).bit_length()),
            float(x.size * (x.dtype.itemsize + 8)),
        ),
    )
)


def _last(ndim: int, dim: int) -> tuple[int, ...]:
    """Return the order of dims that exchanges one with the last; it is its own inverse."""
    order = list(range(ndim))
    order[dim], order[-1] = order[-1], order[dim]
    return tuple(order)


@method("argsort")
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Return the indices (int64) that sort a tensor along a dim.

    Equal elements keep their order, whatever `stable` says. NaN counts as the largest.

    >>> import clnet as cn
    >>> cn.tensor([3, 1, 2]).argsort()
    tensor([1, 2, 0])
    """
    axis = as_dim("argsort", dim, input.ndim)
    if not input.ndim:
        return input.new_zeros((), dtype=int64)
    if axis == input.ndim - 1:
        return argsort_(input, descending=descending)
    order = _last(input.ndim, axis)
    return permute(argsort_(permute(input, dims=order), descending=descending), dims=order)
