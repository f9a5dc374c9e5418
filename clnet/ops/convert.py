"""Between dtypes, devices, and the host: `to` and its kin, `numpy`, `item`, Python's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from clnet import core
from clnet.core import Node, Tensor, compute_with, method, record
from clnet.dtypes import DTYPES, DType, as_dtype, bfloat16, float64
from clnet.dtypes import bool_ as bool_dtype
from clnet.errors import DTypeError, GradientError, ShapeError
from clnet.modes import modes
from clnet.ops.create import check_dtype
from clnet.ops.elementwise import cast
from clnet.records import Arg, Op, Sample, Spec, register

# --- detach, clone -------------------------------------------------------------------------------
# A view as alias is, so that writing to the detached tensor writes to its base; no gradient.
_detach = register(
    Op(
        "detach",
        "The same value, through which no gradient flows.",
        lambda x: x,
        lambda x: x,
        (Sample((Arg((2, 3)),), grad=False),),
        view=lambda layout: (layout.strides, 0),
        put=lambda base, value: value,
    )
)


@method("detach")
def detach(input: Tensor) -> Tensor:
    """Return a tensor of the same value, sharing memory, through which no gradient flows.

    Detached before its value is computed, it is computed together with it: a state carried from one
    step of training to the next is not computed a second time in that next step.

    >>> import clnet as cn
    >>> cn.ones(2, requires_grad=True).detach().requires_grad
    False
    """
    result = _detach(input)
    node = input.node
    if node.needs_grad and node.buffer is None:
        compute_with([result.node], [node])
    return result


@method("clone")
def clone(input: Tensor) -> Tensor:
    """Return a copy in memory of its own; gradients flow through it."""
    return cast(input, dtype=input.dtype)


@method("contiguous")
def contiguous(input: Tensor) -> Tensor:
    """Return the tensor with its elements in row-major order: itself, or a copy."""
    return input if is_contiguous(input) else clone(input)


@method("is_contiguous")
def is_contiguous(input: Tensor) -> bool:
    """Return whether the elements lie, or will lie, in row-major order without gaps."""
    node = input.node
    if node.buffer is None:
        return node.op is not None and node.op.view is None
    return node.layout.contiguous


# --- dtype and device ----------------------------------------------------------------------------
# Not registered: it has no kernel, because its value is copied through the host at once.
_transfer = Op(
    "to",
    "Copy to another device, through the host.",
    lambda x, device: x,
    lambda x, device: x,
    vjp=(lambda d, r, x, device: _moved(d, x.device),),
    view=lambda layout, device: (layout.strides, 0),
)


def _moved(input: Tensor, device: Any) -> Tensor:
    spec = input.node.spec
    check_dtype("to", spec.dtype, device)
    if spec.size:
        buffer = device.upload(np.array(host_array(input), order="C", ndmin=0))
    else:
        buffer = device.allocate(spec.dtype.itemsize)
    source = input.node
    node = core.buffer_node(spec, device, buffer)
    if source.needs_grad and modes.grad:
        node.op, node.inputs, node.attrs = _transfer, (source,), {"device": device}
        node.needs_grad = True
    return Tensor(node)


@method("to")
def to(
    input: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
) -> Tensor:
    """Return the tensor with another dtype, on another device, or both, as of another tensor.

    `x.to(cn.float16)`, `x.to("gpu")`, `x.to(device, dtype)`, `x.to(other)`. The tensor itself is
    returned if nothing changes, unless copy is set. Between devices data goes through the host and
    non_blocking has no effect. Gradients flow back to the first device and dtype.

    Errors: DTypeError, DeviceError.

    >>> import clnet as cn
    >>> cn.tensor([1.5, 2.5]).to(cn.int32)
    tensor([1, 2], dtype=clnet.int32)
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, (DType, type, np.dtype)) or (isinstance(arg, str) and arg in DTYPES):
            dtype = arg
        elif arg is not None:
            device = arg
    wanted = input.dtype if dtype is None else as_dtype(dtype)
    target = None if device is None else core.runtime.device(device)
    result = input
    moves = target is not None and target is not input.device
    if wanted is not input.dtype:
        check_dtype("to", wanted, target or input.device)
    if wanted is not input.dtype and wanted is not float64:
        result = cast(result, dtype=wanted)
    if moves:
        result = _moved(result, target)
    if wanted is not result.dtype:
        # float64 is made where it goes: the device that it comes from need not have it.
        result = cast(result, dtype=wanted)
    return clone(result) if copy and result is input else result


def _conversion(name: str, dtype: DType) -> None:
    def convert(input: Tensor) -> Tensor:
        return to(input, dtype)

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"Return the tensor as {dtype.name}."
    method(name)(convert)


for _name, _dtype in (
    ("float", DTYPES["float32"]),
    ("double", float64),
    ("half", DTYPES["float16"]),
    ("bfloat16", bfloat16),
    ("int", DTYPES["int32"]),
    ("long", DTYPES["int64"]),
    ("byte", DTYPES["uint8"]),
    ("bool", bool_dtype),
):
    _conversion(_name, _dtype)


@method("type_as")
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """Return the tensor with the dtype of another."""
    return to(input, other.dtype)


# --- to the host ---------------------------------------------------------------------------------
# A strided value is read as the region that holds it if that is at most so many times as large.
_MAX_SPREAD = 4


def host_array(input: Tensor) -> np.ndarray:
    """Return the elements as the buffer stores them (bfloat16 as uint16); read-only.

    Where host and device share memory the array is that memory and keeps it alive. Waits for the
    device.
    """
    node = input.node
    core.runtime.evaluate([node])
    shape, dtype = node.spec
    if not node.spec.size:
        return np.broadcast_to(np.zeros((), dtype.storage), shape)
    if node.layout.contiguous:
        return node.device.download(node.buffer, dtype.storage, shape, node.offset)
    assert node.strides is not None
    reach = [s * (n - 1) for n, s in zip(shape, node.strides, strict=True)]
    lowest = sum(r for r in reach if r < 0)
    extent = sum(r for r in reach if r > 0) - lowest + 1
    if extent > max(_MAX_SPREAD * node.spec.size, 4096):
        copy = record(cast, (node,), {"dtype": dtype})
        core.runtime.evaluate([copy])
        return copy.device.download(copy.buffer, dtype.storage, shape, copy.offset)
    region = node.device.download(node.buffer, dtype.storage, (extent,), node.offset + lowest)
    strides = tuple(s * dtype.itemsize for s in node.strides)
    return np.lib.stride_tricks.as_strided(region[-lowest:], shape, strides, writeable=False)


def host_values(input: Tensor) -> np.ndarray:
    """Return the elements as numbers that NumPy knows: bfloat16 as float32."""
    array = host_array(input)
    if input.dtype is bfloat16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


@method("numpy")
def numpy(input: Tensor, *, force: bool = False) -> np.ndarray:
    """Return the value as a read-only NumPy array; waits for the device.

    Where host and device share memory large values are not copied; later in-place changes of the
    tensor do not show in the array. With force, a tensor that requires grad is detached and
    bfloat16 becomes float32. Errors: GradientError, DTypeError where force would be needed.

    >>> import clnet as cn
    >>> cn.arange(3).numpy()
    array([0, 1, 2])
    """
    if force:
        return host_values(input)
    if input.requires_grad:
        raise GradientError("numpy: this tensor requires grad; use x.detach().numpy()")
    if input.dtype is bfloat16:
        raise DTypeError(f"numpy: NumPy has no dtype for {input.node.spec}; use x.float().numpy()")
    return host_array(input)


@method("item")
def item(input: Tensor) -> Any:
    """Return the one element as a Python number; waits for the device. Errors: ShapeError."""
    node = input.node
    if node.spec.size != 1:
        raise ShapeError(
            f"item: {node.spec} has {node.spec.size} elements; needs one (or use x.tolist())"
        )
    core.runtime.evaluate([node])
    value = node.device.read_scalar(node.buffer, node.spec.dtype.storage, node.offset)
    if node.spec.dtype is bfloat16:
        value = (np.uint32(value) << np.uint32(16)).view(np.float32)
    return value.item()


@method("tolist")
def tolist(input: Tensor) -> Any:
    """Return the value as nested lists of Python numbers, or as one number if 0-d."""
    return host_values(input).tolist()


@method("__array__")
def _array(input: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """What `numpy.asarray(x)` calls: `x.numpy()`, as another dtype where NumPy asks for one."""
    array = numpy(input)
    if dtype is not None and np.dtype(dtype) != array.dtype:
        if copy is False:
            raise ValueError(f"__array__: {array.dtype} as {np.dtype(dtype)} needs a copy")
        return array.astype(dtype)
    return array.copy() if copy else array


@method("__dlpack__")
def _dlpack(input: Tensor, **options: Any) -> Any:
    """Export a copy of the value on the host by DLPack, through NumPy."""
    # A copy, because DLPack has no read-only arrays.
    options.pop("stream", None)
    return numpy(input).copy().__dlpack__(**options)


@method("__dlpack_device__")
def _dlpack_device(input: Tensor) -> tuple[int, int]:
    """What DLPack calls the host: (kDLCPU, 0)."""
    return (1, 0)


# --- Python's numbers ----------------------------------------------------------------------------
@method("__float__")
def _float(input: Tensor) -> float:
    return float(item(input))


@method("__int__")
def _int(input: Tensor) -> int:
    return int(item(input))


@method("__bool__")
def _bool(input: Tensor) -> bool:
    if input.node.spec.size != 1:
        raise ShapeError(
            f"bool: the truth of {input.node.spec} is ambiguous; use x.any() or x.all()"
        )
    return bool(item(input))


@method("__index__")
def _index(input: Tensor) -> int:
    spec: Spec = input.node.spec
    if spec.dtype.kind != "i" or spec.size != 1:
        raise TypeError(f"index: {spec} cannot be an index; needs one integer")
    return int(item(input))


@method("stride")
def stride(input: Tensor) -> tuple[int, ...]:
    """Return the distance in elements between neighbours along each dimension."""
    node: Node = input.node
    core.runtime.evaluate([node])
    assert node.strides is not None
    return node.strides
