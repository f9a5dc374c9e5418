"""Operands to test on: random numbers of a sample, in every dtype, lying in memory in every way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clnet import core
from clnet.core import Node, Tensor
from clnet.dtypes import DType, as_dtype, bfloat16
from clnet.ops.create import stored
from clnet.records import Arg, Spec, row_major
from clnet.testing.tolerance import rounded

# How the elements lie: the last three have gaps, negative strides, and strides of 0.
LAYOUTS = ("contiguous", "transposed", "stepped", "reversed", "broadcast")


def random_values(arg: Arg, dtype: DType, random: np.random.Generator) -> np.ndarray:
    """Return random values for an operand, as NumPy computes with them: bfloat16 as float32.

    Floats are uniform in the operand's range, and numbers of the dtype; integers are those of the
    range (uint8: without the negative ones; 1 where the range holds none); bool is random.
    """
    dtype = as_dtype(arg.dtype) if arg.dtype is not None else dtype
    if dtype.kind == "f":
        values = rounded(random.uniform(arg.low, arg.high, arg.shape), dtype)
        return np.asarray(values, np.float32 if dtype is bfloat16 else dtype.storage)
    if dtype.kind == "b":
        return np.asarray(random.random(arg.shape) < 0.5) | (arg.low > 0)
    low, high = int(np.ceil(arg.low)), int(np.floor(arg.high))
    if dtype.storage.kind == "u":
        low = max(low, 0)
    return random.integers(low, max(low, high), arg.shape, dtype.storage, endpoint=True)


def arranged(values: np.ndarray, layout: str) -> np.ndarray:
    """Return the values that an operand of a layout has: stride 0 repeats the first ones."""
    if layout == "broadcast" and values.size:
        return np.broadcast_to(values[..., :1] if values.ndim else values, values.shape)
    return values


def laid_out(values: np.ndarray, dtype: DType, layout: str = "contiguous") -> Tensor:
    """Return a tensor on the default device whose elements lie in memory by one of `LAYOUTS`.

    Gaps hold a number that the values do not, so that a wrong stride shows.

    >>> import numpy as np, clnet as cn
    >>> laid_out(np.arange(6).reshape(2, 3), cn.int64, "transposed").stride()
    (1, 2)
    """
    values = np.asarray(values)
    device = core.runtime.default_device()
    if not values.size:
        node = Node(Spec(values.shape, dtype), device=device)
        node.buffer, node.strides = device.allocate(dtype.itemsize), row_major(values.shape)
        return Tensor(node)
    host, strides, offset = values, row_major(values.shape), 0
    if layout == "transposed":
        host = values.T
        strides = row_major(host.shape)[::-1]
    elif layout == "stepped" and values.ndim:
        host = np.full([2 * n + 1 for n in values.shape], 99).astype(values.dtype)
        host[tuple(slice(1, None, 2) for _ in values.shape)] = values
        gaps = row_major(host.shape)
        strides, offset = tuple(2 * s for s in gaps), sum(gaps)
    elif layout == "reversed":
        host = np.flip(values)
        strides, offset = tuple(-s for s in strides), values.size - 1
    elif layout == "broadcast" and values.ndim:
        host = values[..., :1]
        strides = (*row_major(host.shape)[:-1], 0)
    buffer = device.upload(np.ascontiguousarray(stored(host, dtype)))
    spec = Spec(values.shape, dtype)
    return Tensor(Node(spec, device=device, buffer=buffer, strides=strides, offset=offset))


def host_values(result: Tensor) -> np.ndarray:
    """Return an evaluated tensor's elements as NumPy computes with them: bfloat16 as float32."""
    return result.detach().numpy(force=True)


def as_computed(values: Sequence[np.ndarray], nodes: Sequence[Node]) -> list[Any]:
    """Return operands as a record's reference takes them: promoted, and floats in float64."""
    return [
        rounded(v, n.spec.dtype) if n.spec.dtype.kind == "f" else v.astype(n.spec.dtype.storage)
        for v, n in zip(values, nodes, strict=True)
    ]
