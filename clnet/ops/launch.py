"""What the launches of several families share: argument types, walks, and shares of work."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from clnet.dtypes import DType, bfloat16
from clnet.records import Argument, In, Launch, Layout, Out, Scalar, Scratch, Spec, Target

Buffer = In | Out | Scratch

# Unsigned OpenCL types by size: copies move words, whatever the dtype.
WORDS = {1: "uchar", 2: "ushort", 4: "uint", 8: "ulong"}
# Elements up to which kernels count in int: the last work-items reach past the end and stop.
INT_REACH = 2**31 - 2**20
# Elements that a work-item of a CPU takes: enough to pay for its start, few enough to share out.
CPU_CHUNK = 16384


def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up.

    >>> ceil_div(7, 2)
    4
    """
    return -(-a // b)


def index_type(*values: Layout | Spec) -> str:
    """Return the OpenCL type in which kernels count the elements of these values: int or long."""
    reach = 0
    for value in values:
        reach = max(reach, prod(value.shape))
        if isinstance(value, Layout):
            steps = zip(value.shape, value.strides, strict=True)
            reach = max(reach, sum(abs(s) * (n - 1) for n, s in steps) + 1)
    return "int" if reach < INT_REACH else "long"


def dims_rank(*counts: int) -> int:
    """Return the least of the ranks for which kernels are built that holds all these counts."""
    return 2 if max(counts) <= 2 else 8


def walk(index: str, rank: int, sizes: Sequence[int], *strides: Sequence[int]) -> list[Scalar]:
    """Return the arguments of DIMS and STRIDES (kernels/include/dims.h), led by dims of size 1.

    >>> [s.value for s in walk("int", 2, (5,), (3,))]
    [1, 5, 0, 3]
    """
    lead = rank - len(sizes)
    values = [*([1] * lead), *sizes]
    for group in strides:
        values += [*([0] * lead), *group]
    return [Scalar(index, v) for v in values]


def scalars(index: str, *values: int) -> list[Scalar]:
    """Return integer arguments of OpenCL type `index`."""
    return [Scalar(index, v) for v in values]


def work_group(target: Target) -> int:
    """Return the size of a one-dimensional work-group: 1 on CPUs, a power of two elsewhere."""
    if target.type == "cpu":
        return 1
    return 1 << (min(256, target.max_work_group).bit_length() - 1)


def share(target: Target, units: int, cost: int) -> int:
    """Return how many units, of `cost` elements each, one work-item takes: 1 but on CPUs."""
    if target.type != "cpu":
        return 1
    wanted = max(1, CPU_CHUNK // max(cost, 1))
    return max(1, min(wanted, ceil_div(units, 4 * target.compute_units)))


def fill(target: Target, spec: Spec, value: float) -> list[Launch]:
    """Return the launch that sets every element of the output, for results of empty inputs."""
    if not spec.size:
        return []
    bits = _bits(value, spec.dtype)
    local, index = work_group(target), index_type(spec)
    each = share(target, spec.size, 1)
    word = WORDS[spec.dtype.itemsize]
    defines = (("WORD", word), ("INDEX", index))
    args: list[Argument] = [Out(), *scalars(index, spec.size, each), Scalar(word, bits)]
    items = ceil_div(spec.size, each)
    return [launch_1d("place.cl", "fill", defines, args, items, local)]


def _bits(value: float, dtype: DType) -> int:
    """Return the bits that store a number, as an unsigned integer."""
    if dtype is bfloat16:
        return int(np.float32(value).view(np.uint32)) >> 16
    stored = np.array(value).astype(dtype.storage)
    return int(stored.view(f"u{dtype.itemsize}"))


def missing(dtype: DType) -> int:
    """Return the bits of an element that an index out of range gives: NaN, 0 for other dtypes."""
    return _bits(float("nan"), dtype) if dtype.kind == "f" else 0


def launch_1d(
    file: str,
    entry: str,
    defines: Sequence[tuple[str, str]],
    args: Sequence[Argument],
    items: int,
    local: int,
) -> Launch:
    """Return a launch of at least `items` work-items, built with LOCAL = `local`."""
    defines = (*defines, ("LOCAL", str(local)))
    return Launch(file, entry, defines, tuple(args), (ceil_div(items, local) * local,), (local,))
