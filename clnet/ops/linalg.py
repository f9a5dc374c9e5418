"""Products of matrices and vectors."""

from __future__ import annotations

import functools
from math import prod
from typing import Any

import numpy as np

from clnet.binding import broadcast_shapes
from clnet.core import Tensor, method
from clnet.dtypes import accumulator, bool_, float32, float64
from clnet.errors import DTypeError, ShapeError
from clnet.ops.launch import (
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
from clnet.ops.views import expand, permute, reshape
from clnet.records import (
    NOTHING_STORED,
    Arg,
    Argument,
    In,
    Launch,
    Layout,
    Op,
    Out,
    Prepared,
    Sample,
    Scalar,
    Scratch,
    Sizes,
    Spec,
    Target,
    collapse,
    register,
)
from clnet.tunables import tunable

# Below this many multiplications a second work-group costs more than it saves (measured on PoCL).
_ONE_GROUP = 64**3
# Up to this many, what counts is that a kernel is launched, and the plain one compiles in a tenth
# of the time (0.1 s of PoCL's, Zen 3).
TINY = 512
# Rows up to which packing a matrix that is used again apart from its products pays.
_FEW_ROWS = 256
_PRODUCTS = ((512, 512, 512), (1024, 1024, 1024), (128, 784, 512), (1280, 512, 512))
# Columns of B that a work-group of a CPU packs at most.
_WIDEST = 1024
# tile_m, tile_n: rows and columns that CPUs hold in registers; by default what 16 registers of 256
# bits hold. block, depth: rows of A and steps of k that stay in a second-level cache together.
# rows, columns: fewer of them leave B where it lies, if its columns are neighbours.
_BLOCKED = tunable(
    "matmul_blocked",
    "matmul",
    ("cpu",),
    {
        "tile_m": (6, 8, 4, 16),
        "tile_n": (16, 32),
        "block": (192, 256, 128, 384),
        "depth": (256, 128, 512),
        "rows": (64, 128, 32),
        "columns": (0, 768),
    },
    _PRODUCTS,
)
# lanes: elements of a float32 vector register. rows: up to which CPUs take inner products where
# both operands lie along k.
_DOTS = tunable(
    "matmul_dots",
    "matmul",
    ("cpu",),
    {"lanes": (8, 16), "rows": (4, 64, 32, 16, 8)},
    ((1, 512, 512), (8, 512, 512)),
)
# tile_k: steps of k that GPUs bring to local memory at once. span: those that a work-group takes at
# least where a product is cut along k.
_TILED = tunable(
    "matmul_tiled",
    "matmul",
    ("gpu", "accelerator"),
    {"tile_k": (16, 8, 32), "span": (512, 256, 128)},
    _PRODUCTS,
)


# --- the record ----------------------------------------------------------------------------------
def _matmul_spec(x: Spec, y: Spec) -> Spec:
    if (
        min(x.ndim, y.ndim) < 2
        or x.shape[-1] != y.shape[-2]
        or x.shape[:-2] != y.shape[:-2]
        or x.dtype is not y.dtype
    ):
        raise ShapeError(f"matmul: cannot multiply {x} by {y}; needs [.., m, k] @ [.., k, n]")
    if x.dtype is bool_:
        raise DTypeError(f"matmul: got {x} and {y}; needs numbers (use x.int() or x.float())")
    return Spec((*x.shape[:-1], y.shape[-1]), x.dtype)


def _matmul_kernel(
    target: Target,
    out: Spec,
    ins: tuple[Layout, ...],
    uses: tuple[int, ...] = (1, 1),
    plain: bool = False,
) -> list[Launch]:
    """Return the launches of the variant for these sizes, or of the plain one."""
    x, y = ins
    m, k = x.shape[-2:]
    n = y.shape[-1]
    if not out.size:
        return []
    if not k:
        return fill(target, out, 0)
    sizes, (xs, ys) = collapse(x.shape[:-2], x.strides[:-2], y.strides[:-2])
    index = index_type(x, y, out)
    rank = dims_rank(len(sizes))
    # The stride of a dim of size 1 is never walked; 1 lets the kernel take its fast paths.
    am, ak = (s if d != 1 else 1 for s, d in zip(x.strides[-2:], (m, k), strict=True))
    bk, bn = (s if d != 1 else 1 for s, d in zip(y.strides[-2:], (k, n), strict=True))
    batch = walk(index, rank, sizes, xs, ys)
    named = (("X", x.dtype.name), ("BATCH", str(rank)), ("INDEX", index))
    own_math = ("OWN_MATH", str(int(target.type == "cpu")))
    defines = (*named, own_math, *NOTHING_STORED)
    shape, steps = scalars(index, m, n, k), scalars(index, am, ak, bk, bn)
    batches = prod(sizes)
    args: tuple[Argument, ...]
    dots = _DOTS.chosen(target)
    tiny = batches * m * n * k <= TINY
    on_cpu = target.type == "cpu" and not plain and not tiny
    along = ak == bk == 1 != bn and m <= dots["rows"] and k >= 64 and uses[1] == 1
    if on_cpu and x.dtype in (float32, float64) and along:
        numbers = scalars(index, batches, m, n, k, am, bn)
        groups = min(batches * ceil_div(n, 4), 8 * target.compute_units)
        groups = 1 if batches * m * n * k <= _ONE_GROUP else groups
        args = (In(0), In(1), Out(), *numbers, *batch)
        lanes = dots["lanes"] * float32.itemsize // x.dtype.itemsize
        wide = (*defines, ("LANES", str(lanes)))
        return [Launch("matmul_dots.cl", "matmul_dots", wide, args, (groups,), (1,))]
    if on_cpu and x.dtype.kind == "f":
        steps_of = (am, ak, bk, bn)
        return [_blocked(target, x, (batches, m, n, k), steps_of, batch, defines, uses[1])]
    tiled = target.type != "cpu" and target.max_work_group >= 256 and _worth_tiles(m, n, k)
    if tiled and not plain:
        return _tiled(target, x, (batches, m, n, k), (*shape, *steps), batch, defines)
    each = m * n if tiny and target.type == "cpu" else share(target, m * n, k)
    args = (
        In(0),
        In(1),
        Out(),
        *shape,
        *steps,
        *scalars(index, each),
        *batch,
    )
    local = work_group(target)
    flat = launch_1d("matmul.cl", "matmul_plain", defines, args, ceil_div(m * n, each), local)
    whole = (*flat.global_size, batches)
    return [Launch(flat.file, flat.entry, flat.defines, flat.args, whole, (local, 1))]


def _worth_tiles(m: int, n: int, k: int) -> bool:
    """Whether tiles of 64 x 64 that are mostly padding still beat one item for each result."""
    return min(m, n) >= 16 or (k >= 128 and m * n * k >= 1 << 18)


def _tiled(
    target: Target,
    x: Layout,
    sizes: tuple[int, int, int, int],
    numbers: tuple[Scalar, ...],
    batch: list[Scalar],
    defines: tuple[tuple[str, str], ...],
) -> list[Launch]:
    """Return the launches of matmul_tiled, or of matmul_split where C alone is too few tiles."""
    batches, m, n, k = sizes
    each = accumulator(x.dtype).itemsize

    def tiles_of(tile_m: int, tile_n: int) -> int:
        return batches * ceil_div(m, tile_m) * ceil_div(n, tile_n)

    tile_m = tile_n = 64
    if each < 8:
        for larger in ((128, 128), (64, 128), (128, 64)):
            if tiles_of(*larger) >= target.compute_units:
                tile_m, tile_n = larger
                break
    chosen = _TILED.chosen(target)
    depth = chosen["tile_k"]
    while 2 * depth * (tile_m + tile_n + 8) * each > target.local_memory:
        depth //= 2
    groups = tiles_of(tile_m, tile_n)
    slices = 1
    if groups < target.compute_units:
        slices = max(1, min(ceil_div(2 * target.compute_units, groups), k // chosen["span"]))
    span = ceil_div(ceil_div(k, slices), depth) * depth
    slices = ceil_div(k, span)
    tiles = (
        ("TILE_M", str(tile_m)),
        ("TILE_N", str(tile_n)),
        ("TILE_K", str(depth)),
        ("EDGES", str(int(bool(m % tile_m or n % tile_n or k % depth)))),
    )
    size = (16 * ceil_div(n, tile_n), 16 * ceil_div(m, tile_m), batches * slices)
    args: tuple[Argument, ...]
    if slices == 1:
        args = (In(0), In(1), Out(), *numbers, *batch)
        return [
            Launch("matmul_tiled.cl", "matmul_tiled", (*defines, *tiles), args, size, (16, 16, 1))
        ]
    partial = Scratch("partial", batches * slices * m * n * each, each)
    index = dict(defines)["INDEX"]
    args = (In(0), In(1), partial, *numbers, *scalars(index, slices, span), *batch)
    split = Launch("matmul_tiled.cl", "matmul_split", (*defines, *tiles), args, size, (16, 16, 1))
    args = (partial, Out(), *scalars(index, batches, m, n, slices))
    count, local = batches * m * n, work_group(target)
    return [split, launch_1d("matmul_tiled.cl", "matmul_join", defines, args, count, local)]


def _blocked(
    target: Target,
    x: Layout,
    sizes: tuple[int, int, int, int],
    strides: tuple[int, int, int, int],
    batch: list[Scalar],
    defines: tuple[tuple[str, str], ...],
    uses: int,
) -> Launch:
    """Return the launch of matmul_blocked: blocks of C, evenly shared by a few groups a core."""
    batches, m, n, k = sizes
    bk, bn = strides[2:]
    chosen = _BLOCKED.chosen(target)
    tile_m, tile_n = chosen["tile_m"], chosen["tile_n"]
    if x.dtype is float64:  # half as many fit the registers
        tile_m, tile_n = (tile_m, 16) if tile_n > 16 else (tile_m // 2, 16)
    # 16-bit floats are packed as float32, all of k at once: C cannot hold a partial sum.
    narrow = x.dtype.itemsize < 4
    depth = k if narrow else min(k, chosen["depth"])
    deeper = max(1, ceil_div(depth, chosen["depth"]))
    # A few work-groups for each core, each with columns of its own, or some rows of them.
    tall, wide = 1, ceil_div(n, max(tile_n, _WIDEST // deeper))
    if batches * m * n * k > _ONE_GROUP:
        while batches * tall * wide < 2 * target.compute_units:
            height, width = ceil_div(m, tall), ceil_div(n, wide)
            if width >= height and width > 2 * tile_n:
                wide *= 2
            elif height > 32:
                tall *= 2
            else:
                break
    rows = ceil_div(m, tall)
    rows = ceil_div(rows, ceil_div(rows, max(32, chosen["block"] // deeper)))
    block_m = ceil_div(rows, tile_m) * tile_m
    block_n = ceil_div(ceil_div(n, wide), tile_n) * tile_n
    groups = min(batches * ceil_div(m, block_m) * ceil_div(n, block_n), batches * tall * wide)
    groups = min(groups, 4 * target.compute_units)
    group_scratch = (block_m + 16) * (depth + 16) + block_n * depth
    in_place = 0
    if not narrow:
        few = m < chosen["rows"] or n < chosen["columns"]
        in_place = (1 if bn == 1 and few else 0) | (2 if n <= tile_n else 0)
    index = dict(defines)["INDEX"]
    each = accumulator(x.dtype).itemsize
    right: Argument = In(1)
    if uses > 1 and batches == 1 and not in_place & 1 and m <= _FEW_ROWS:
        in_place |= 4
        panels = ceil_div(n, tile_n) * tile_n // 16
        numbers = scalars(index, n, k, bk, bn, panels)
        packed = Scratch("prepared", panels * 16 * k * each, each)
        given: tuple[Argument, ...] = (In(1), packed, *numbers)
        size = (min(panels, 4 * target.compute_units),)
        pack = Launch("matmul.cl", "matmul_pack", defines, given, size, (1,))
        right = Prepared(1, packed.nbytes, each, pack)
    args: tuple[Argument, ...] = (
        In(0),
        right,
        Out(),
        Scratch("panels", groups * group_scratch * each, each),
        *scalars(index, *sizes, *strides, block_m, block_n, depth, group_scratch),
        Scalar("int", in_place),
        *batch,
    )
    defines = (*defines, ("TILE_M", str(tile_m)), ("TILE_N", str(tile_n)))
    return Launch("matmul.cl", "matmul_blocked", defines, args, (groups,), (1,))


def _transposed(x: Any) -> Any:
    return permute(x, dims=(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _matmul_reference(x: Any, y: Any) -> Any:
    wide = np.float64 if x.dtype.kind == "f" else x.dtype
    return np.matmul(x.astype(wide), y.astype(wide)).astype(x.dtype)


def _column_major(y: Any) -> bool:
    """Whether a matrix is the transposed view of one that lies row by row."""
    node = y.node
    if node.strides is not None:
        return bool(node.strides[-2] == 1 and node.strides[-1] != 1)
    swapped = (*range(y.ndim - 2), y.ndim - 1, y.ndim - 2)
    return node.op is permute and node.attrs["dims"] == swapped


def _right_vjp(d: Any, r: Any, x: Any, y: Any) -> Any:
    """Lay the gradient out as its matrix is, so that a weight and its gradient are walked alike."""
    if _column_major(y):
        return _transposed(matmul_(_transposed(d), x))
    return matmul_(_transposed(x), d)


matmul_: Op = register(
    Op(
        "matmul",
        "Matrix product of the last two dims; the others are equal batch dims.",
        _matmul_spec,
        _matmul_reference,
        (
            Sample((Arg((2, 3)), Arg((3, 4)))),
            Sample((Arg((17, 9)), Arg((9, 33)))),
            Sample((Arg((2, 3, 4)), Arg((2, 4, 2)))),
            Sample((Arg((2, 2, 3, 1)), Arg((2, 2, 1, 2)))),
            Sample((Arg((2, 0)), Arg((0, 3)))),
        ),
        (
            lambda d, r, x, y: matmul_(d, _transposed(y)),
            _right_vjp,
        ),
        promote="same",
        kernel=_matmul_kernel,
        counts=True,
        stores=True,
        strided=True,
        plain=functools.partial(_matmul_kernel, plain=True),
        sizes=Sizes(lambda m, k, n: Sample((Arg((m, k)), Arg((k, n)))), _PRODUCTS),
        cost=lambda out, x, y: (
            2.0 * out.size * x.shape[-1],
            float((out.size + x.size + y.size) * x.dtype.itemsize),
        ),
    )
)


# --- for users -----------------------------------------------------------------------------------
@method("matmul")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Return the matrix product, by PyTorch's rules.

    [m, k] @ [k, n]; dims before the last two are batches and broadcast; a vector on the left is a
    row, on the right a column, and leaves no dim behind. 16-bit floats are summed in float32.
    Errors: ShapeError, DTypeError for bool.

    >>> import clnet as cn
    >>> cn.ones(2, 3) @ cn.ones(3)
    tensor([3., 3.])
    """
    a, b = input.node.spec, other.node.spec
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else -1]:
        raise ShapeError(f"matmul: cannot multiply {a} by {b}; needs [.., m, k] @ [.., k, n]")
    if b.ndim <= 2:
        # One matrix on the right: all rows of all batches are one product.
        k, n = b.shape[0], b.shape[1:]
        right = other if b.ndim == 2 else reshape(other, shape=(k, 1))
        left = input if a.ndim == 2 else reshape(input, shape=(prod(a.shape[:-1]), k))
        y = matmul_(left, right)
        shape = (*a.shape[:-1], *n)
        return y if y.shape == shape else reshape(y, shape=shape)
    left = input if a.ndim > 1 else reshape(input, shape=(1, a.shape[0]))
    lead = broadcast_shapes("matmul", left.shape[:-2], b.shape[:-2])
    y = matmul_(
        expand(left, shape=(*lead, *left.shape[-2:])), expand(other, shape=(*lead, *b.shape[-2:]))
    )
    return y if a.ndim > 1 else reshape(y, shape=(*lead, b.shape[-1]))


@method("__matmul__")
def _operator(input: Tensor, other: Any) -> Any:
    return matmul(input, other) if isinstance(other, Tensor) else NotImplemented


def _dims(name: str, input: Tensor, ndim: int, other: Tensor, other_ndim: int) -> None:
    a, b = input.node.spec, other.node.spec
    if a.ndim != ndim or b.ndim != other_ndim:
        raise ShapeError(
            f"{name}: cannot multiply {a} by {b}; needs {ndim} dims and {other_ndim} dims"
        )


@method("mm")
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Return the product of two matrices. Errors: ShapeError for other dims than two.

    >>> import clnet as cn
    >>> cn.mm(cn.eye(2), cn.ones(2, 1))
    tensor([[1.],
            [1.]])
    """
    _dims("mm", input, 2, mat2, 2)
    return matmul(input, mat2)


@method("bmm")
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Return the products of two batches of matrices, [b, m, k] @ [b, k, n]. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.bmm(cn.ones(2, 1, 3), cn.ones(2, 3, 1)).shape
    (2, 1, 1)
    """
    _dims("bmm", input, 3, mat2, 3)
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(
            f"bmm: cannot multiply {input.node.spec} by {mat2.node.spec}; needs equal batches"
        )
    return matmul(input, mat2)


@method("mv")
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Return the product of a matrix and a vector. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.mv(cn.eye(2), cn.ones(2))
    tensor([1., 1.])
    """
    _dims("mv", input, 2, vec, 1)
    return matmul(input, vec)


@method("dot")
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Return the inner product of two vectors. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.dot(cn.tensor([1.0, 2.0]), cn.tensor([3.0, 4.0]))
    tensor(11.)
    """
    _dims("dot", input, 1, tensor, 1)
    return matmul(input, tensor)


@method("outer")
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Return the products of all pairs of elements of two vectors, [m, n]. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.outer(cn.tensor([1, 2]), cn.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    _dims("outer", input, 1, vec2, 1)
    return reshape(input, shape=(input.shape[0], 1)) * vec2


@method("addmm")
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """Return beta * input + alpha * (mat1 @ mat2); input broadcasts. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.addmm(cn.ones(2), cn.eye(2), cn.eye(2))
    tensor([[2., 1.],
            [1., 2.]])
    """
    y = mm(mat1, mat2)
    return (input if beta == 1 else input * beta) + (y if alpha == 1 else y * alpha)
