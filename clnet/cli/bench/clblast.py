"""CLBlast's products on a device of clnet: its C library through ctypes, on pyopencl's objects.

Objects of OpenCL carry the table of their implementation's functions, so they may be passed to a
library that was linked with another loader of implementations than pyopencl's.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from clnet.device import Device
from clnet.errors import ClnetError

_BY_ROWS, _PLAIN, _TRANSPOSED = 101, 111, 112
# The letter of a routine's name, and the type of its scalars; half floats are passed as bits.
_DTYPES = {
    "float16": ("H", ctypes.c_uint16),
    "float32": ("S", ctypes.c_float),
    "float64": ("D", ctypes.c_double),
}


def library() -> ctypes.CDLL:
    """Return CLBlast. Errors: ClnetError where it is not installed."""
    name = ctypes.util.find_library("clblast")
    if name is None:
        raise ClnetError("CLBlast is not installed (Debian: the package libclblast1)")
    return ctypes.CDLL(name)


def product(
    on: Device, a: np.ndarray, b: np.ndarray
) -> tuple[Callable[[], None], Callable[[], np.ndarray]]:
    """Return a step that multiplies matrices on a device and waits, and what reads the result.

    Matrices stored by columns are given to CLBlast as transposed ones. A product with a column is
    one of a matrix and a vector. Errors: ClnetError for other operands and for CLBlast's own.
    """
    if a.ndim != 2 or b.ndim != 2 or a.dtype != b.dtype or a.dtype.name not in _DTYPES:
        raise ClnetError("CLBlast multiplies matrices of floats")
    letter, scalar = _DTYPES[a.dtype.name]
    (m, k), n = a.shape, b.shape[1]
    if not m * n * k:
        raise ClnetError("CLBlast takes no empty matrices")
    flags, leading, buffers = [], [], []
    for matrix in (a, b):
        turned = not matrix.flags.c_contiguous and matrix.flags.f_contiguous
        stored = np.ascontiguousarray(matrix.T if turned else matrix)
        flags.append(_TRANSPOSED if turned else _PLAIN)
        leading.append(stored.shape[1])
        buffers.append(on.upload(stored))
    # Zeros, because its products with vectors multiply what was there by 0 too, even a NaN.
    out = on.upload(np.zeros((m, n), a.dtype))
    one, zero = (
        scalar(int(v.view(np.uint16)) if letter == "H" else v) for v in np.array([1, 0], a.dtype)
    )
    x, y, z = (ctypes.c_void_p(buffer.int_ptr) for buffer in (*buffers, out))
    size = ctypes.c_size_t
    start = size(0)
    queue = ctypes.byref(ctypes.c_void_p(on.queue.int_ptr))
    if n == 1:
        routine = getattr(library(), f"CLBlast{letter}gemv")
        height, width = (m, k) if flags[0] == _PLAIN else (k, m)
        arguments = (_BY_ROWS, flags[0], size(height), size(width), one, x, start, size(leading[0]))
        arguments += (y, start, size(1), zero, z, start, size(1), queue, None)
    else:
        routine = getattr(library(), f"CLBlast{letter}gemm")
        arguments = (_BY_ROWS, *flags, size(m), size(n), size(k), one, x, start, size(leading[0]))
        arguments += (y, start, size(leading[1]), zero, z, start, size(n), queue, None)

    def step() -> None:
        status = routine(*arguments)
        if status:
            raise ClnetError(f"CLBlast failed with status {status}")
        on.synchronize()

    def read() -> np.ndarray:
        assert buffers  # the operands live as long as the step
        return on.download(out, a.dtype, (m, n))

    return step, read


def step_of(
    on: Device, op: str, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]
) -> tuple[Callable[[], None], Callable[[], Any]]:
    """Return a step of an op that BLAS has, and what gives its result as lists.

    Sums of rows are a product with ones. Errors: ClnetError for what BLAS has not.
    """
    if op == "matmul":
        step, read = product(on, *arrays)
        return step, lambda: _lists(step, read)
    if op == "sum" and list(attrs["dims"]) == [1]:
        ones = np.ones((arrays[0].shape[1], 1), arrays[0].dtype)
        step, read = product(on, arrays[0], ones)
        return step, lambda: _lists(step, lambda: read()[:, 0])
    raise ClnetError(f"BLAS has no {op}")


def _lists(step: Callable[[], None], read: Callable[[], np.ndarray]) -> Any:
    step()
    return read().tolist()
