"""What a tensor says of itself, by PyTorch's method names."""

from __future__ import annotations

from clnet.core import Tensor, method
from clnet.ops.dims import as_dim


@method("numel")
def numel(input: Tensor) -> int:
    """Return the number of elements."""
    return input.node.spec.size


@method("size")
def _size(input: Tensor, dim: int | None = None) -> tuple[int, ...] | int:
    """Return the shape, or the size of one dimension."""
    return input.shape if dim is None else input.shape[as_dim("size", dim, input.ndim)]


@method("dim")
def _dim(input: Tensor) -> int:
    """Return the number of dimensions."""
    return input.ndim


@method("element_size")
def _element_size(input: Tensor) -> int:
    """Return the size of an element in bytes."""
    return input.dtype.itemsize


def _nbytes(input: Tensor) -> int:
    """Bytes of all elements."""
    return input.node.spec.size * input.dtype.itemsize


method("nbytes")(property(_nbytes))


@method("is_floating_point")
def is_floating_point(input: Tensor) -> bool:
    """Return whether the dtype is float16, bfloat16, float32 or float64."""
    return input.dtype.is_floating_point
