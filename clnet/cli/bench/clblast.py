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

from clnet.device import Buffer, Device
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


class Product:
    """A product of matrices on a device: calling it computes and waits, `read` gives the result.

    Matrices stored by columns are given to CLBlast as transposed ones. A product with a column is
    one of a matrix and a vector. Errors: ClnetError for other operands and for CLBlast's own.
    """

    def __init__(self, on: Device, a: np.ndarray, b: np.ndarray) -> None:
        if a.ndim != 2 or b.ndim != 2 or a.dtype != b.dtype or a.dtype.name not in _DTYPES:
            raise ClnetError("CLBlast multiplies matrices of floats")
        (m, k), n = a.shape, b.shape[1]
        if not m * n * k:
            raise ClnetError("CLBlast takes no empty matrices")
        letter, scalar = _DTYPES[a.dtype.name]
        self._routine = getattr(library(), f"CLBlast{letter}{'gemv' if n == 1 else 'gemm'}")
        self._on, self._dtype, self._shape = on, a.dtype, (m, n)
        (x, how_a, lead_a), (y, how_b, lead_b) = (_given(on, matrix) for matrix in (a, b))
        # Zeros, because its products with vectors multiply what was there by 0 too, even a NaN.
        self._out = on.upload(np.zeros((m, n), a.dtype))
        self._operands = (x, y)  # kept as long as they are used
        bits = np.array([1, 0], a.dtype).view(np.uint16) if letter == "H" else (1, 0)
        one, zero = (scalar(int(value)) for value in bits)
        p, q, r = (ctypes.c_void_p(buffer.int_ptr) for buffer in (x, y, self._out))
        size, start, single = ctypes.c_size_t, ctypes.c_size_t(0), ctypes.c_size_t(1)
        self._arguments: list[Any]
        if n == 1:
            height, width = (m, k) if how_a == _PLAIN else (k, m)
            self._arguments = [_BY_ROWS, how_a, size(height), size(width)]
            self._arguments += [one, p, start, lead_a, q, start, single, zero, r, start, single]
        else:
            self._arguments = [_BY_ROWS, how_a, how_b, size(m), size(n), size(k)]
            self._arguments += [one, p, start, lead_a, q, start, lead_b, zero, r, start, size(n)]
        self._arguments += [ctypes.byref(ctypes.c_void_p(on.queue.int_ptr)), None]

    def __call__(self) -> None:
        """Multiply, and wait."""
        status = self._routine(*self._arguments)
        if status:
            raise ClnetError(f"CLBlast failed with status {status}")
        self._on.synchronize()

    def read(self) -> np.ndarray:
        """Return what the last call computed."""
        return self._on.download(self._out, self._dtype, self._shape)


def _given(on: Device, matrix: np.ndarray) -> tuple[Buffer, int, ctypes.c_size_t]:
    """Upload a matrix as it is stored; returns it, whether it is transposed, and its row length."""
    turned = not matrix.flags.c_contiguous and matrix.flags.f_contiguous
    stored = np.ascontiguousarray(matrix.T if turned else matrix)
    how = _TRANSPOSED if turned else _PLAIN
    return on.upload(stored), how, ctypes.c_size_t(stored.shape[1])


def step_of(
    on: Device, op: str, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]
) -> tuple[Callable[[], None], Callable[[], Any]]:
    """Return a step of an op that BLAS has, and what gives its result as lists.

    Sums of rows are a product with ones. Errors: ClnetError for what BLAS has not.
    """
    if op == "matmul":
        step = Product(on, *arrays)
        return step, lambda: _result(step).tolist()
    if op == "sum" and list(attrs["dims"]) == [1]:
        ones = np.ones((arrays[0].shape[1], 1), arrays[0].dtype)
        step = Product(on, arrays[0], ones)
        return step, lambda: _result(step)[:, 0].tolist()
    raise ClnetError(f"BLAS has no {op}")


def _result(product: Product) -> np.ndarray:
    product()
    return product.read()
