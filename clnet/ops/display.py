"""How tensors are printed: as PyTorch prints them."""

from __future__ import annotations

from typing import Any

import numpy as np

from clnet import core
from clnet.core import Tensor, method
from clnet.dtypes import bool_, float32, int64
from clnet.ops.convert import host_values, item

# Beyond so many elements only the ends of each dimension are shown; digits of what is no integer.
_THRESHOLD, _EDGE, _DIGITS = 1000, 3, 4


def _digits(array: np.ndarray) -> str:
    """Return the elements as text: floats that are all whole as `1.`, else with four digits."""
    options: dict[str, Any] = {"threshold": _THRESHOLD, "edgeitems": _EDGE, "separator": ", "}
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        if np.any(finite != np.rint(finite)):
            options |= {"precision": _DIGITS, "floatmode": "fixed"}
    return np.array2string(array, prefix="tensor(", **options)


@method("__repr__")
def _repr(input: Tensor) -> str:
    """Return the value, dtype and device (where not the default) and what gradients ask of it."""
    node = input.node
    parts = [_digits(host_values(input))]
    if not node.spec.size and node.spec.shape != (0,):
        parts.append(f"size={node.spec.shape}")
    if node.spec.dtype not in (float32, int64, bool_):
        parts.append(f"dtype={node.spec.dtype!r}")
    if node.device is not core.runtime.device(None):
        parts.append(f"device='{node.device.index}'")
    if node.leaf:
        parts.append("requires_grad=True")
    elif node.needs_grad:
        parts.append(f"grad_fn=<{node.op.name if node.op else 'assign'}>")
    return f"tensor({', '.join(parts)})"


@method("__format__")
def _format(input: Tensor, spec: str) -> str:
    """Format a 0-d tensor as its number; others only without a format."""
    if not input.shape:
        return format(item(input), spec)
    if spec:
        raise TypeError(f"format: {input.node.spec} takes no format {spec!r}; needs a 0-d tensor")
    return _repr(input)
