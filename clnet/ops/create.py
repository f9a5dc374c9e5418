"""Tensors from data of the host, and tensors filled with numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from clnet import core
from clnet.core import Tensor, buffer_node, method, scalar_node
from clnet.dtypes import DType, as_dtype, bfloat16, bool_, float32, float64, scalar_dtype
from clnet.errors import DTypeError, ShapeError
from clnet.ops.dims import as_sizes
from clnet.ops.views import expand
from clnet.records import Spec


def check_dtype(name: str, dtype: DType, device: Any) -> None:
    """Raise DTypeError if the device cannot compute with the dtype."""
    if dtype is float64 and not device.caps.fp64:
        raise DTypeError(
            f"{name}: {device} has no float64 (cl_khr_fp64); use dtype=clnet.float32, "
            "or a device that has it"
        )


# --- from the host -------------------------------------------------------------------------------
def bfloat16_bits(array: np.ndarray) -> np.ndarray:
    """Return the bits of float32 numbers rounded to bfloat16, to nearest even, as uint16."""
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) >> 16
    # Rounding could carry a NaN's bits over to infinity: it is made quiet instead.
    return np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def stored(array: np.ndarray, dtype: DType) -> np.ndarray:
    """Return an array's elements as a buffer of `dtype` stores them, in row-major order."""
    if array.dtype == dtype.storage and dtype is not bfloat16:
        return np.asarray(array, order="C")
    if array.dtype.name == "bfloat16":  # of the ml_dtypes package
        array = array.astype(np.float32)
    if dtype is bfloat16:
        return np.asarray(bfloat16_bits(array), order="C")
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(array.astype(dtype.storage, copy=False), order="C")


def upload(name: str, array: np.ndarray, dtype: DType, device: Any) -> Tensor:
    """Return a tensor on `device` with a copy of the array's elements."""
    check_dtype(name, dtype, device)
    data = stored(array, dtype)
    # OpenCL has no empty buffers.
    buffer = device.upload(data) if data.size else device.allocate(dtype.itemsize)
    return Tensor(buffer_node(Spec(data.shape, dtype), device, buffer))


def _array(name: str, data: Any, dtype: DType | None) -> tuple[np.ndarray, DType]:
    """Return data as an array, and the dtype asked for or else the one that it stands for."""
    leaf = data
    while isinstance(leaf, (list, tuple)) and leaf:
        leaf = leaf[0]
    try:
        array = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise ShapeError(
            f"{name}: cannot make an array of this {type(data).__name__}: {error}; "
            "needs numbers in lists of equal lengths"
        ) from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise DTypeError(
            f"{name}: cannot make a tensor of {type(leaf).__name__} ({array.dtype}); "
            "needs real numbers, nested lists of them, or arrays"
        )
    if dtype is not None:
        return array, dtype
    if array.dtype == np.float64 and not isinstance(leaf, (np.ndarray, np.generic, Tensor)):
        return array, float32  # Python's own floats
    return array, as_dtype(array.dtype)


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a new tensor with a copy of the data.

    data is a number, nested lists, a NumPy array or a tensor. Python's floats become float32, its
    ints int64, its bools bool; arrays keep their dtype. Errors: DTypeError for dtypes that clnet or
    the device does not have, ShapeError for lists of unequal lengths.

    >>> import clnet as cn
    >>> cn.tensor([[1, 2], [3, 4]], dtype=cn.float32)
    tensor([[1., 2.],
            [3., 4.]])
    """
    if isinstance(data, Tensor):
        moved = data.detach().to(dtype=dtype, device=device)
        return moved.clone().requires_grad_(requires_grad)
    array, found = _array("tensor", data, None if dtype is None else as_dtype(dtype))
    result = upload("tensor", array, found, core.runtime.device(device))
    return result.requires_grad_(requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return data as a tensor: a tensor of that dtype and device is returned as it is.

    Other data is copied as by `tensor`. Errors: as `tensor`.
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    return tensor(data, dtype, device)


def from_numpy(array: np.ndarray) -> Tensor:
    """Return a tensor of an array's dtype and shape, on the array's own memory where that can be.

    It can where the device shares the host's memory and the array is contiguous, writable and lies
    at a multiple of 64 bytes; otherwise the elements are copied. In either case leave the array
    unchanged while the tensor is in use. Errors: TypeError, DTypeError.

    >>> import clnet as cn, numpy as np
    >>> cn.from_numpy(np.array([1, 2, 3]))
    tensor([1, 2, 3])
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: got {type(array).__name__}; needs a NumPy array")
    dtype = as_dtype(array.dtype)
    device = core.runtime.device(None)
    check_dtype("from_numpy", dtype, device)
    if array.dtype == dtype.storage:  # not of the other byte order
        buffer = device.wrap(array)
        if buffer is not None:
            return Tensor(buffer_node(Spec(array.shape, dtype), device, buffer))
    return upload("from_numpy", array, dtype, device)


def from_dlpack(source: Any) -> Tensor:
    """Return a tensor with a copy of what another library exports by DLPack, on the host.

    >>> import clnet as cn, numpy as np
    >>> cn.from_dlpack(np.ones(2, np.float32))
    tensor([1., 1.])
    """
    return tensor(np.from_dlpack(source))


# --- filled --------------------------------------------------------------------------------------
def filled(name: str, shape: tuple[int, ...], value: Any, dtype: DType, device: Any) -> Tensor:
    """Return a tensor that is one number everywhere; no memory is filled until something needs it.

    With device None the tensor is computed wherever it is used. Errors: DTypeError for a number
    that the dtype cannot hold.
    """
    if dtype.kind == "i":
        limits = np.iinfo(dtype.storage)
        if not limits.min <= value <= limits.max:
            raise DTypeError(
                f"{name}: {value} does not fit {dtype.name}; needs {limits.min} to {limits.max}"
            )
    number = {"b": bool, "i": int, "f": float}[dtype.kind](value)
    if device is not None:
        check_dtype(name, dtype, device)
    node = scalar_node(number, dtype)
    node.device = device
    scalar = Tensor(node)
    return expand(scalar, shape=shape) if shape else scalar


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a tensor of a size that is `fill_value` everywhere.

    dtype defaults to the one of the number: bool, int64 or float32. Errors: ShapeError, DTypeError.

    >>> import clnet as cn
    >>> cn.full((2, 2), 7)
    tensor([[7, 7],
            [7, 7]])
    """
    shape = as_sizes("full", (size,))
    if isinstance(fill_value, Tensor):
        if fill_value.shape:
            raise ShapeError(f"full: fill_value is {fill_value.node.spec}; needs a number")
        result = expand(fill_value.to(dtype=dtype, device=device), shape=shape)
        return result.requires_grad_() if requires_grad else result
    found = scalar_dtype(fill_value) if dtype is None else as_dtype(dtype)
    result = filled("full", shape, fill_value, found, core.runtime.device(device))
    return result.requires_grad_(requires_grad)


def _numbers(name: str, value: int, doc: str) -> Any:
    def create(
        *size: Any, dtype: Any = float32, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        shape = as_sizes(name, size)
        result = filled(name, shape, value, as_dtype(dtype), core.runtime.device(device))
        return result.requires_grad_(requires_grad)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = doc
    return create


zeros = _numbers("zeros", 0, "Return a tensor of zeros, `zeros(2, 3)` or `zeros((2, 3))`.")
ones = _numbers("ones", 1, "Return a tensor of ones, `ones(2, 3)` or `ones((2, 3))`.")
empty = _numbers("empty", 0, "Return a tensor whose values do not matter: zeros, in clnet.")


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a tensor of another's shape, dtype and device that is `fill_value` everywhere."""
    found = input.dtype if dtype is None else as_dtype(dtype)
    on = input.node.device if device is None else core.runtime.device(device)
    result = filled("full_like", input.shape, fill_value, found, on)
    return result.requires_grad_(requires_grad)


def zeros_like(input: Tensor, **options: Any) -> Tensor:
    """Return zeros of another tensor's shape, dtype and device; options as `full_like`."""
    return full_like(input, 0, **options)


def ones_like(input: Tensor, **options: Any) -> Tensor:
    """Return ones of another tensor's shape, dtype and device; options as `full_like`."""
    return full_like(input, 1, **options)


def empty_like(input: Tensor, **options: Any) -> Tensor:
    """Return a tensor like another whose values do not matter; options as `full_like`."""
    return full_like(input, 0, **options)


@method("new_full")
def new_full(
    input: Tensor,
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a tensor of a size that is one number everywhere, of this one's dtype and device."""
    found = input.dtype if dtype is None else as_dtype(dtype)
    on = input.node.device if device is None else core.runtime.device(device)
    result = filled("new_full", as_sizes("new_full", (size,)), fill_value, found, on)
    return result.requires_grad_(requires_grad)


@method("new_zeros")
def new_zeros(input: Tensor, *size: Any, **options: Any) -> Tensor:
    """Return zeros of a size, of this tensor's dtype and device."""
    return new_full(input, as_sizes("new_zeros", size), 0, **options)


@method("new_ones")
def new_ones(input: Tensor, *size: Any, **options: Any) -> Tensor:
    """Return ones of a size, of this tensor's dtype and device."""
    return new_full(input, as_sizes("new_ones", size), 1, **options)


@method("new_empty")
def new_empty(input: Tensor, *size: Any, **options: Any) -> Tensor:
    """Return a tensor whose values do not matter, of this one's dtype and device."""
    return new_full(input, as_sizes("new_empty", size), 0, **options)


@method("new_tensor")
def new_tensor(input: Tensor, data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return data as a tensor of this one's dtype and device."""
    return tensor(data, dtype or input.dtype, device or input.device)


# --- sequences and the identity ------------------------------------------------------------------
def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return start, start + step, ... up to but not including end; `arange(end)` begins at 0.

    dtype defaults to int64 if all three are integers, else float32. Errors: ShapeError where the
    step is 0 or leads away from the end.

    >>> import clnet as cn
    >>> cn.arange(5), cn.arange(1, 2, 0.5)
    (tensor([0, 1, 2, 3, 4]), tensor([1.0000, 1.5000]))
    """
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) * step < 0:
        raise ShapeError(f"arange: from {start} to {end} by {step}; needs a step that leads there")
    found = scalar_dtype(start + end + step) if dtype is None else as_dtype(dtype)
    if found is bool_:
        found = as_dtype(int)
    array = np.arange(start, end, step)
    result = upload("arange", array, found, core.runtime.device(device))
    return result.requires_grad_(requires_grad)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = float32,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return `steps` equally spaced numbers from start to end, both included.

    >>> import clnet as cn
    >>> cn.linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    (count,) = as_sizes("linspace", (steps,))
    array = np.linspace(start, end, count)
    result = upload("linspace", array, as_dtype(dtype), core.runtime.device(device))
    return result.requires_grad_(requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = float32,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return an n x m matrix (n x n) with ones on the diagonal and zeros elsewhere.

    >>> import clnet as cn
    >>> cn.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    rows, columns = as_sizes("eye", (n, n if m is None else m))
    array = np.eye(rows, columns, dtype=np.float32)
    result = upload("eye", array, as_dtype(dtype), core.runtime.device(device))
    return result.requires_grad_(requires_grad)
