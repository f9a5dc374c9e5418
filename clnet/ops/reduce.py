"""Reductions: sum, product, extremes and logic over any dims, and where the extremes lie."""

from __future__ import annotations

from collections.abc import Callable
from math import prod as product
from typing import Any

import numpy as np

from clnet.columns import LANES, chunks_of, column_chunks, columns_across
from clnet.dtypes import DType, accumulator, bool_, int64
from clnet.errors import ShapeError
from clnet.ops.elementwise import cast
from clnet.ops.launch import (
    Buffer,
    ceil_div,
    dims_rank,
    fill,
    index_type,
    launch_1d,
    scalars,
    share,
    walk,
    work_group,
)
from clnet.ops.views import expand, permute, place, reshape, slice_
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
    collapse,
    register,
)

_Ints = tuple[int, ...]


# --- launches ------------------------------------------------------------------------------------
def _split(layout: Layout, dims: _Ints, reorder: bool) -> tuple[_Ints, _Ints, _Ints, _Ints]:
    """Return sizes and strides of the kept, then of the reduced dims, merged where they can be."""
    axes = range(len(layout.shape))
    kept = [i for i in axes if i not in dims]
    reduced = [i for i in axes if i in dims]
    if reorder:  # the fold's order is free, so the shortest stride goes innermost
        reduced.sort(key=lambda i: -abs(layout.strides[i]))
    groups: list[_Ints] = []
    for group in (kept, reduced):
        sizes, (strides,) = collapse(
            [layout.shape[i] for i in group], [layout.strides[i] for i in group]
        )
        groups += [sizes or (1,), strides or (0,)]
    return groups[0], groups[1], groups[2], groups[3]


def reduce_launches(
    target: Target, fold: str, x: Layout, dims: _Ints, dtype: DType
) -> list[Launch]:
    """Return the launches that fold dims of input 0 into the output, of `dtype`.

    Few outputs of long reductions are made of partial results, which a second launch joins.
    """
    kept, kept_strides, reduced, reduced_strides = _split(x, dims, reorder=True)
    outputs, total = product(kept), product(reduced)
    columns = kept_strides[-1] == 1 and reduced_strides[-1] != 1
    if columns:
        chunks, length = column_chunks(target, outputs // kept[-1], kept[-1], total)
    elif target.type == "cpu":
        # Many more groups than cores: a thread that PoCL wakes late then still gets its share.
        least = 32768 // min(outputs, 512) + LANES
        chunks, length = chunks_of(total, outputs, 32 * target.compute_units, least)
    else:
        parallel = outputs * work_group(target)
        chunks, length = chunks_of(total, parallel, 2048 * target.compute_units, 256)
    if chunks == 1:
        return [_pass(target, fold, x, In(0), Out(), dims, 1, total, dtype)]
    between = accumulator(dtype)
    scratch = Scratch("partial", outputs * chunks * between.itemsize, between.itemsize)
    first = _pass(target, fold, x, In(0), scratch, dims, chunks, length, between)
    if first.entry in ("reduce_plain", "reduce_columns"):
        partial, joined = Layout((chunks, outputs), (outputs, 1), between), 0
    else:
        partial, joined = Layout((outputs, chunks), (chunks, 1), between), 1
    return [first, _pass(target, fold, partial, scratch, Out(), (joined,), 1, chunks, dtype)]


def _pass(
    target: Target,
    fold: str,
    x: Layout,
    source: Buffer,
    result: Buffer,
    dims: _Ints,
    chunks: int,
    length: int,
    dtype: DType,
) -> Launch:
    """Return one launch of kernels/reduce.cl: `x` from `source`, folded in chunks, to `result`."""
    kept, kept_strides, reduced, reduced_strides = _split(x, dims, reorder=True)
    outputs, total = product(kept), product(reduced)
    columns = kept_strides[-1] == 1 and reduced_strides[-1] != 1
    index = index_type(x)
    rank = dims_rank(len(kept), len(reduced))
    defines: tuple[tuple[str, str], ...] = (
        ("X", x.dtype.name),
        ("Y", dtype.name),
        ("REDUCE", fold),
        ("KEPT", str(rank)),
        ("REDUCED", str(rank)),
        ("INDEX", index),
    )
    numbers: tuple[int, ...]
    flags: tuple[Argument, ...] = ()
    size: tuple[int, ...]
    local: tuple[int, ...] = (1,)
    inner_k, inner_r = (kept, kept_strides), (reduced, reduced_strides)
    if target.type != "cpu":
        items = work_group(target)
        defines = (*defines, ("LOCAL", str(items)))
        if columns or total <= 32:
            entry, numbers = "reduce_plain", (outputs, chunks, length, total, 1)
            size, local = (ceil_div(outputs * chunks, items) * items,), (items,)
        else:
            entry, numbers = "reduce_group", (chunks, length, total)
            flags = (Scalar("int", len(reduced) == 1), Scalar(index, reduced_strides[-1]))
            size, local = (items, outputs * chunks), (items, 1)
    elif columns:
        across = columns_across(target, outputs // kept[-1] * chunks, kept[-1])
        entry, numbers = "reduce_columns", (kept[-1], across, length, total)
        inner_k = kept[:-1], kept_strides[:-1]
        size = (ceil_div(kept[-1], across), outputs // kept[-1], chunks)
        local = (1, 1, 1)
    else:
        each = share(target, outputs * chunks, length)
        entry = "reduce_rows"
        numbers = (outputs, chunks, length, total, each, reduced[-1], reduced_strides[-1])
        inner_r = reduced[:-1], reduced_strides[:-1]
        size = (ceil_div(outputs * chunks, each),)
    dims_args = (*walk(index, rank, *inner_k), *walk(index, rank, *inner_r))
    args: tuple[Argument, ...] = (source, result, *scalars(index, *numbers), *flags, *dims_args)
    return Launch("reduce.cl", entry, defines, args, size, local)


def _arg_launches(
    target: Target, out: Spec, ins: tuple[Layout, ...], fold: str, dims: _Ints
) -> list[Launch]:
    x = ins[0]
    kept, kept_strides, reduced, reduced_strides = _split(x, dims, reorder=False)
    outputs, total = product(kept), product(reduced)
    index, rank = index_type(x), dims_rank(len(kept), len(reduced))
    local = work_group(target)
    defines = (
        ("X", x.dtype.name),
        ("Y", x.dtype.name),
        ("REDUCE", fold),
        ("KEPT", str(rank)),
        ("REDUCED", str(rank)),
        ("INDEX", index),
    )
    parts = (
        *scalars(index, reduced[-1], reduced_strides[-1]),
        *walk(index, rank, kept, kept_strides),
        *walk(index, rank, reduced[:-1], reduced_strides[:-1]),
    )
    wanted = (4 if target.type == "cpu" else 1024) * target.compute_units
    chunks = max(1, min(ceil_div(wanted, outputs), total // 4096))
    length = ceil_div(total, chunks)
    chunks = ceil_div(total, length)
    each = share(target, outputs * chunks, length)
    items = ceil_div(outputs * chunks, each)
    to: Buffer = Out() if chunks == 1 else Scratch("candidates", outputs * chunks * 8, 8)
    numbers = scalars(index, outputs, chunks, length, total, each)
    entry = "arg_rows" if target.type == "cpu" and reduced_strides[-1] == 1 else "arg_plain"
    first = launch_1d("argreduce.cl", entry, defines, (In(0), to, *numbers, *parts), items, local)
    if chunks == 1:
        return [first]
    args: tuple[Argument, ...] = (In(0), to, Out(), *scalars(index, outputs, chunks, 1), *parts)
    return [first, launch_1d("argreduce.cl", "arg_merge", defines, args, outputs, local)]


# --- records -------------------------------------------------------------------------------------
def _without(shape: _Ints, dims: _Ints) -> _Ints:
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def _back(d: Any, x: Any, dims: _Ints) -> Any:
    """Repeat a value of the reduced shape along the dims that were reduced."""
    ones = tuple(1 if i in dims else n for i, n in enumerate(x.shape))
    return expand(reshape(d, shape=ones), shape=x.shape)


def _extreme_vjp(d: Any, r: Any, x: Any, dims: _Ints) -> Any:
    """Share the cotangent evenly among the elements that are the extreme."""
    chosen = cast(x == _back(r, x, dims), dtype=x.dtype)
    return chosen * _back(d / sum_(chosen, dims=dims), x, dims)


def _prod_vjp(d: Any, r: Any, x: Any, dims: _Ints) -> Any:
    """Multiply the cotangent by the product of the other elements, without a division by zeros.

    A tree of pairwise products goes up; on the way down each node gets its sibling's product.
    """
    kept = tuple(i for i in range(x.ndim) if i not in dims)
    order = (*kept, *dims)
    moved = permute(x, dims=order)
    n = product(x.shape[i] for i in dims)
    lead = tuple(x.shape[i] for i in kept)
    size = 1 << max(n - 1, 0).bit_length()
    zero, one = (0,) * len(lead), (1,) * len(lead)
    level = reshape(moved, shape=(*lead, n))
    if size > n:
        ones = expand(x.new_ones(()), shape=(*lead, size))
        level = place(ones, level, starts=((*zero, 0),), steps=((*one, 1),))
    halves = []
    while level.shape[-1] > 1:
        half = level.shape[-1] // 2
        left, right = (
            slice_(level, starts=(*zero, i), steps=(*one, 2), sizes=(*lead, half)) for i in (0, 1)
        )
        halves.append((left, right))
        level = left * right
    others = reshape(d, shape=(*lead, 1))
    for left, right in reversed(halves):
        base = expand(x.new_zeros(()), shape=(*lead, 2 * left.shape[-1]))
        others = place(
            base, others * right, others * left,
            starts=((*zero, 0), (*zero, 1)), steps=((*one, 2),) * 2,
        )  # fmt: skip
    if size > n:
        others = slice_(others, starts=(*zero, 0), steps=(*one, 1), sizes=(*lead, n))
    back = tuple(order.index(i) for i in range(x.ndim))
    return permute(reshape(others, shape=moved.shape), dims=back)


_SAMPLES = tuple(
    Sample((Arg(shape),), {"dims": dims})
    for shape, dims in (
        ((2, 3), (1,)),
        ((3, 4), (0,)),
        ((2, 3, 4), (0, 2)),
        ((5,), (0,)),
        ((), ()),
        ((2, 0, 3), (1,)),
    )
)


_MATRIX = Sizes(
    lambda rows, columns: Sample((Arg((rows, columns)),), {"dims": (1,)}),
    ((256, 256), (4096, 4096)),
)


def _record(
    name: str,
    doc: str,
    fold: str,
    identity: float | None,
    reference: Callable[..., Any],
    result: Callable[[DType], DType],
    vjp: Callable[..., Any] | None,
) -> Op:
    """Register a reduction; `identity` is the result over no elements, None where there is none."""

    def spec(x: Spec, dims: _Ints) -> Spec:
        shape = _without(x.shape, dims)
        if identity is None and not product(x.shape[i] for i in dims) and 0 not in shape:
            raise ShapeError(f"{name}: got {x}, no elements along {list(dims)}; needs at least one")
        return Spec(shape, result(x.dtype))

    def kernel(target: Target, out: Spec, ins: tuple[Layout, ...], dims: _Ints) -> list[Launch]:
        if not product(ins[0].shape):
            return fill(target, out, 0 if identity is None else identity)
        return reduce_launches(target, fold, ins[0], dims, out.dtype)

    empty = [s for s in _SAMPLES if identity is not None or 0 not in s.args[0].shape]
    return register(
        Op(
            name,
            doc,
            spec,
            reference,
            tuple(empty),
            (vjp,) if vjp is not None else None,
            kernel=kernel,
            fold=fold,
            strided=(0,),
            sizes=_MATRIX,
            cost=lambda out, x, dims: (
                float(x.size),
                float(x.size * x.dtype.itemsize + out.size * out.dtype.itemsize),
            ),
        )
    )


def _widened(dtype: DType) -> DType:
    return dtype if dtype.kind == "f" else int64


def _over(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dims: function(x, axis=dims)


def _accumulated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reference that sums floats in float64, and integers in int64."""

    def reference(x: Any, dims: _Ints) -> Any:
        x = np.asarray(x)
        wide = np.float64 if x.dtype.kind == "f" else np.int64
        result = function(x, axis=dims, dtype=wide)
        return result.astype(x.dtype) if x.dtype.kind == "f" else result

    return reference


sum_ = _record(
    "sum", "Sum over dims; integers and bool give int64.", "sum", 0, _accumulated(np.sum),
    _widened, lambda d, r, x, dims: _back(d, x, dims),
)  # fmt: skip
prod_ = _record(
    "prod", "Product over dims; integers and bool give int64.", "prod", 1, _accumulated(np.prod),
    _widened, _prod_vjp,
)  # fmt: skip
amax_ = _record(
    "amax", "Largest element over dims, NaN if there is one; ties share the gradient.", "amax",
    None, _over(np.max), lambda dtype: dtype, _extreme_vjp,
)  # fmt: skip
amin_ = _record(
    "amin", "Least element over dims, NaN if there is one; ties share the gradient.", "amin",
    None, _over(np.min), lambda dtype: dtype, _extreme_vjp,
)  # fmt: skip
any_ = _record(
    "any", "Whether an element is nonzero.", "some", 0, _over(np.any), lambda dtype: bool_, None
)
all_ = _record(
    "all", "Whether every element is nonzero.", "every", 1, _over(np.all), lambda dtype: bool_, None
)


def _arg_record(name: str, doc: str, fold: str, reference: Callable[..., Any]) -> Op:
    def spec(x: Spec, dims: _Ints) -> Spec:
        shape = _without(x.shape, dims)
        if not product(x.shape[i] for i in dims):
            raise ShapeError(f"{name}: got {x}, no elements along {list(dims)}; needs at least one")
        return Spec(shape, int64)

    def flat(x: Any, dims: _Ints) -> Any:
        kept = tuple(i for i in range(x.ndim) if i not in dims)
        moved = np.transpose(x, (*kept, *dims)).reshape(*_without(x.shape, dims), -1)
        return np.asarray(reference(moved, axis=-1), np.int64)

    return register(
        Op(
            name,
            doc,
            spec,
            flat,
            (
                Sample((Arg((2, 3)),), {"dims": (1,)}),
                Sample((Arg((3, 4)),), {"dims": (0,)}),
                Sample((Arg((2, 3)),), {"dims": (0, 1)}),
            ),
            kernel=lambda target, out, ins, dims: _arg_launches(target, out, ins, fold, dims),
            strided=(0,),
            sizes=_MATRIX,
            cost=lambda out, x, dims: (float(x.size), float(x.size * x.dtype.itemsize)),
        )
    )


argmax_ = _arg_record(
    "argmax",
    "Position of the first largest element over dims (of the first NaN).",
    "amax",
    np.argmax,
)
argmin_ = _arg_record(
    "argmin", "Position of the first least element over dims, or the first NaN.", "amin", np.argmin
)
