"""CLBlast's matrix product on an OpenCL device, by the C interface of its shared library.

It is called with ctypes, because the Python package of its author has no wheels.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyopencl as cl

_ROW_MAJOR, _AS_IT_IS, _TRANSPOSED = 101, 111, 112
_GEMM: dict[Any, tuple[str, Any]] = {
    np.dtype(np.float32): ("CLBlastSgemm", ctypes.c_float),
    np.dtype(np.float64): ("CLBlastDgemm", ctypes.c_double),
}


@dataclass
class Matrix:
    """A matrix in row-major order on the device."""

    queue: Any
    buffer: Any
    array: np.ndarray

    def tolist(self) -> list[list[float]]:
        """Return the elements, read from the device."""
        cl.enqueue_copy(self.queue, self.array, self.buffer)
        return self.array.tolist()


def queue_on(index: str) -> Any:
    """Return a queue on a device, named by 'platform:device'."""
    platform, device = map(int, index.split(":"))
    chosen = cl.get_platforms()[platform].get_devices()[device]
    return cl.CommandQueue(cl.Context([chosen]), chosen)


def matrix(queue: Any, array: np.ndarray) -> Matrix:
    """Copy a matrix to the device."""
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    return Matrix(queue, cl.Buffer(queue.context, flags, hostbuf=array), array)


@functools.cache
def library() -> Any:
    """Load the shared library. Errors: OSError where there is none."""
    name = ctypes.util.find_library("clblast")
    if name is None:
        raise OSError("no shared library clblast; Debian has it as libclblast1")
    return ctypes.CDLL(name)


def matmul(a: Matrix, b: Matrix, turned: bool = False) -> Matrix:
    """Return a @ b, or a @ b.T where `turned`, once it is there."""
    (m, k), (rows, columns) = a.array.shape, b.array.shape
    n = rows if turned else columns
    name, scalar = _GEMM[a.array.dtype]
    gemm = getattr(library(), name)
    result = np.empty((m, n), a.array.dtype)
    buffer = cl.Buffer(a.queue.context, cl.mem_flags.READ_WRITE, result.nbytes)
    queue = ctypes.c_void_p(a.queue.int_ptr)

    def operand(buffer: Any, leading: int) -> tuple[Any, ...]:
        return ctypes.c_void_p(buffer.int_ptr), ctypes.c_size_t(0), ctypes.c_size_t(leading)

    status = gemm(
        _ROW_MAJOR,
        _AS_IT_IS,
        _TRANSPOSED if turned else _AS_IT_IS,
        *map(ctypes.c_size_t, (m, n, k)),
        scalar(1),
        *operand(a.buffer, k),
        *operand(b.buffer, columns),
        scalar(0),
        *operand(buffer, n),
        ctypes.byref(queue),
        None,
    )
    if status:
        raise RuntimeError(f"{name} of [{m}, {k}] and [{k}, {n}] failed with status {status}")
    a.queue.finish()
    return Matrix(a.queue, buffer, result)
