"""The views: ops that copy nothing, for strides say it all; and `place`, which undoes slices."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from clnet.errors import ShapeError
from clnet.ops.launch import (
    CPU_CHUNK,
    WORDS,
    ceil_div,
    dims_rank,
    index_type,
    launch_1d,
    scalars,
    walk,
    work_group,
)
from clnet.records import (
    Arg,
    Argument,
    In,
    Launch,
    Layout,
    Op,
    Out,
    Sample,
    Sizes,
    Spec,
    Target,
    collapse,
    register,
    row_major,
)

alias: Op = register(
    Op(
        "alias",
        "The same value as another node of the graph.",
        lambda x: x,
        lambda x: x,
        (Sample((Arg((2, 3)),)),),
        (lambda d, r, x: d,),
        view=lambda layout: (layout.strides, 0),
        put=lambda base, value: value,
    )
)


# --- expand --------------------------------------------------------------------------------------
def _expand_spec(x: Spec, shape: tuple[int, ...]) -> Spec:
    lead = len(shape) - x.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[lead:], strict=True)):
        raise ShapeError(
            f"expand: cannot expand {x} to {list(shape)}; "
            "needs sizes that are equal or 1, counted from the last dimension"
        )
    return Spec(shape, x.dtype)


def _expand_view(layout: Layout, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    lead = len(shape) - len(layout.shape)
    kept = zip(layout.shape, layout.strides, shape[lead:], strict=True)
    return (0,) * lead + tuple(0 if n != m else s for n, s, m in kept), 0


def _expand_vjp(d: Any, r: Any, x: Any, shape: tuple[int, ...]) -> Any:
    lead = len(shape) - x.ndim
    dims = [i for i, n in enumerate(shape) if i < lead or x.shape[i - lead] != n]
    return reshape(d.sum(dims), shape=x.shape) if dims else d


expand: Op = register(
    Op(
        "expand",
        "Repeat along dimensions of size 1, and new leading ones, without copying.",
        _expand_spec,
        lambda x, shape: np.broadcast_to(x, shape),
        (
            Sample((Arg((2, 1)),), {"shape": (3, 2, 4)}),
            Sample((Arg(()),), {"shape": (2, 2)}),
        ),
        (_expand_vjp,),
        view=_expand_view,
    )
)


# --- permute -------------------------------------------------------------------------------------
def _permute_spec(x: Spec, dims: tuple[int, ...]) -> Spec:
    if sorted(dims) != list(range(x.ndim)):
        raise ShapeError(
            f"permute: cannot order the dimensions of {x} as {list(dims)}; "
            f"needs each of 0 to {x.ndim - 1} once"
        )
    return Spec(tuple(x.shape[i] for i in dims), x.dtype)


def _inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dims.index(i) for i in range(len(dims)))


permute: Op = register(
    Op(
        "permute",
        "Reorder the dimensions without copying.",
        _permute_spec,
        lambda x, dims: np.transpose(x, dims),
        (Sample((Arg((2, 3, 4)),), {"dims": (2, 0, 1)}), Sample((Arg((2, 3)),), {"dims": (1, 0)})),
        (lambda d, r, x, dims: permute(d, dims=_inverse(dims)),),
        view=lambda layout, dims: (tuple(layout.strides[i] for i in dims), 0),
        put=lambda base, value, dims: permute(value, dims=_inverse(dims)),
    )
)


# --- reshape -------------------------------------------------------------------------------------
def _reshape_spec(x: Spec, shape: tuple[int, ...]) -> Spec:
    if prod(shape) != x.size:
        raise ShapeError(
            f"reshape: cannot give {x} the shape {list(shape)}; "
            f"needs {x.size} elements, that shape has {prod(shape)}"
        )
    return Spec(shape, x.dtype)


def _reshape_view(layout: Layout, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int] | None:
    if layout.contiguous or prod(shape) == 0:
        return row_major(shape), 0
    # Split the merged dimensions again: each new dimension must lie inside one of them.
    sizes, (strides,) = collapse(layout.shape, layout.strides)
    left = list(zip(sizes, strides, strict=True))
    result: list[int] = []
    for n in reversed(shape):
        if n == 1:
            result.append(0)
            continue
        size, stride = left.pop()
        if size % n:
            return None
        result.append(stride)
        if size > n:
            left.append((size // n, stride * n))
    return tuple(reversed(result)), 0


reshape: Op = register(
    Op(
        "reshape",
        "Give the elements, in row-major order, another shape; copies only where strides require.",
        _reshape_spec,
        lambda x, shape: np.reshape(x, shape),
        (
            Sample((Arg((2, 6)),), {"shape": (3, 4)}),
            Sample((Arg((2, 3)),), {"shape": (1, 6, 1)}),
            Sample((Arg((1,)),), {"shape": ()}),
        ),
        (lambda d, r, x, shape: reshape(d, shape=x.shape),),
        view=_reshape_view,
        put=lambda base, value, shape: reshape(value, shape=base.shape),
    )
)

# --- slice ---------------------------------------------------------------------------------------
_Ints = tuple[int, ...]


def _slice_spec(x: Spec, starts: _Ints, steps: _Ints, sizes: _Ints) -> Spec:
    assert len(starts) == len(steps) == len(sizes) == x.ndim, "slice: one start, step, size a dim"
    for n, start, step, size in zip(x.shape, starts, steps, sizes, strict=True):
        last = start + (size - 1) * step
        if size and not (0 <= start < n and 0 <= last < n):
            raise ShapeError(
                f"slice: elements {start} to {last} of a dimension of {x}; needs 0 to {n - 1}"
            )
    return Spec(sizes, x.dtype)


def _slice_reference(x: Any, starts: _Ints, steps: _Ints, sizes: _Ints) -> Any:
    for axis, (start, step, size) in enumerate(zip(starts, steps, sizes, strict=True)):
        x = np.take(x, [start + i * step for i in range(size)], axis)
    return x


def _slice_view(layout: Layout, starts: _Ints, steps: _Ints, sizes: _Ints) -> tuple[_Ints, int]:
    offset = sum(start * s for start, s in zip(starts, layout.strides, strict=True))
    strides = tuple(step * s for step, s in zip(steps, layout.strides, strict=True))
    return strides, offset if prod(sizes) else 0


slice_: Op = register(
    Op(
        "slice",
        "Take every `step`-th element of each dimension, from `start`, `size` of them, as a view.",
        _slice_spec,
        _slice_reference,
        (
            Sample((Arg((4, 5)),), {"starts": (1, 4), "steps": (2, -1), "sizes": (2, 3)}),
            Sample((Arg((4,)),), {"starts": (0,), "steps": (1,), "sizes": (4,)}),
        ),
        (
            lambda d, r, x, starts, steps, sizes: place(
                expand(d.new_zeros(()), shape=x.shape), d, starts=(starts,), steps=(steps,)
            ),
        ),
        view=_slice_view,
        put=lambda base, value, starts, steps, sizes: place(
            base, value, starts=(starts,), steps=(steps,)
        ),
    )
)


# --- place: the inverse of slice -----------------------------------------------------------------
_Many = tuple[_Ints, ...]


def _place_spec(base: Spec, *parts: Spec, starts: _Many, steps: _Many) -> Spec:
    for part, start, step in zip(parts, starts, steps, strict=True):
        assert part.dtype is base.dtype and part.ndim == base.ndim, "place: ranks and dtypes differ"
        _slice_spec(base, start, step, part.shape)
    return base


def _place_reference(base: Any, *parts: Any, starts: _Many, steps: _Many) -> Any:
    out = np.array(base)
    for part, start, step in zip(parts, starts, steps, strict=True):
        axes = zip(start, step, part.shape, strict=True)
        out[np.ix_(*([a + i * s for i in range(n)] for a, s, n in axes))] = part
    return out


def _place_vjp(
    index: int, d: Any, r: Any, base: Any, *parts: Any, starts: _Many, steps: _Many
) -> Any:
    if index > 0:
        i = index - 1
        return slice_(d, starts=starts[i], steps=steps[i], sizes=parts[i].shape)
    holes = [expand(d.new_zeros(()), shape=p.shape) for p in parts]
    return place(d, *holes, starts=starts, steps=steps)


def _copy(target: Target, source: In, x: Layout, ys: _Ints, offset: int) -> Launch | None:
    """Return the launch that copies `x` into the output, walked by strides `ys` from `offset`."""
    sizes, (xs, out) = collapse(x.shape, x.strides, ys)
    total = prod(sizes)
    if total == 0:
        return None
    index = index_type(x, Layout(sizes, out, x.dtype))
    defines = (("WORD", WORDS[x.dtype.itemsize]), ("INDEX", index))
    args: tuple[Argument, ...]
    if target.type != "cpu":
        rank = dims_rank(len(sizes))
        dims = walk(index, rank, sizes, xs, out)
        args = (source, Out(offset), *scalars(index, total), *dims)
        ranked = (*defines, ("RANK", str(rank)))
        return launch_1d("place.cl", "copy_region", ranked, args, total, work_group(target))
    n, x_step, step = (sizes[-1], xs[-1], out[-1]) if sizes else (1, 0, 0)
    rank = dims_rank(len(sizes) - 1)
    # Segments keep two cores busy on one long row; see kernels/place.cl.
    length = min(n, CPU_CHUNK)
    segments, rows = ceil_div(n, length), total // n
    each = max(1, CPU_CHUNK // length)
    numbers = scalars(index, n, x_step, step, rows, segments, length, each)
    dims = walk(index, rank, sizes[:-1], xs[:-1], out[:-1])
    args = (source, Out(offset), *numbers, *dims)
    groups = (ceil_div(rows * segments, each),)
    return Launch("place.cl", "copy_rows", (*defines, ("RANK", str(rank))), args, groups, (1,))


def copy_to_result(target: Target, x: Layout) -> Launch:
    """Return the launch that copies the first operand, which is not empty, to the result."""
    launch = _copy(target, In(0), x, row_major(x.shape), 0)
    assert launch is not None
    return launch


def _place_kernel(
    target: Target, out: Spec, ins: tuple[Layout, ...], starts: _Many, steps: _Many
) -> list[Launch]:
    strides = row_major(out.shape)
    covered = sum(prod(part.shape) for part in ins[1:])
    launches = [] if covered == out.size else [_copy(target, In(0), ins[0], strides, 0)]
    for i, (part, start, step) in enumerate(zip(ins[1:], starts, steps, strict=True)):
        offset = sum(a * s for a, s in zip(start, strides, strict=True))
        walked = tuple(a * s for a, s in zip(step, strides, strict=True))
        launches.append(_copy(target, In(i + 1), part, walked, offset))
    return [launch for launch in launches if launch is not None]


place: Op = register(
    Op(
        "place",
        "Write parts, which must not overlap, into strided regions of a copy of base.",
        _place_spec,
        _place_reference,
        (
            Sample(
                (Arg((3, 5)), Arg((2, 2)), Arg((3, 2))),
                {"starts": ((0, 0), (0, 4)), "steps": ((2, 1), (1, -1))},
            ),
            Sample(
                (Arg((4,)), Arg((2,)), Arg((2,))), {"starts": ((0,), (2,)), "steps": ((1,),) * 2}
            ),
        ),
        _place_vjp,
        kernel=_place_kernel,
        sizes=Sizes(
            lambda rows, columns: Sample(
                (Arg((rows, 2 * columns)), Arg((rows, columns)), Arg((rows, columns))),
                {"starts": ((0, 0), (0, columns)), "steps": ((1, 1), (1, 1))},
            ),
            ((256, 256), (4096, 2048)),
        ),
        strided=True,
        cost=lambda out, *ins, **attrs: (0.0, 2.0 * out.size * out.dtype.itemsize),
    )
)
