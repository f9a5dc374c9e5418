"""The dtypes of clnet, their promotion, and what NumPy and Python call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clnet.errors import DTypeError


@dataclass(frozen=True, eq=False)
class DType:
    """A dtype: its name, its size in bytes, its kind ('b', 'i' or 'f') and how NumPy stores it.

    bfloat16 has no NumPy equivalent: its 16 bits are stored as uint16.

    >>> import clnet as cn
    >>> cn.float32, cn.float32.itemsize
    (clnet.float32, 4)
    """

    name: str
    itemsize: int
    kind: str
    storage: np.dtype
    rank: int

    @property
    def is_floating_point(self) -> bool:
        """True for float16, bfloat16, float32 and float64."""
        return self.kind == "f"

    def __repr__(self) -> str:
        return f"clnet.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


def _dtype(name: str, kind: str, storage: str, rank: int) -> DType:
    numpy = np.dtype(storage)
    return DType(name, numpy.itemsize, kind, numpy, rank)


bool_ = _dtype("bool", "b", "bool", 0)
uint8 = _dtype("uint8", "i", "uint8", 1)
int32 = _dtype("int32", "i", "int32", 2)
int64 = _dtype("int64", "i", "int64", 3)
float16 = _dtype("float16", "f", "float16", 4)
bfloat16 = _dtype("bfloat16", "f", "uint16", 5)
float32 = _dtype("float32", "f", "float32", 6)
float64 = _dtype("float64", "f", "float64", 7)

DTYPES = {d.name: d for d in (bool_, uint8, int32, int64, float16, bfloat16, float32, float64)}
_KINDS = {"b": 0, "i": 1, "f": 2}
_PYTHON = {bool: bool_, int: int64, float: float32}
_DEFAULTS = {"b": bool_, "i": int64, "f": float32}


def accumulator(dtype: DType) -> DType:
    """Return the dtype in which partial results are kept: float32 for the 16-bit floats."""
    return float32 if dtype in (float16, bfloat16) else dtype


def as_dtype(value: Any) -> DType:
    """Return the clnet dtype that a clnet, NumPy or Python type, or a name, stands for.

    Errors: DTypeError for what clnet does not have (complex numbers, int16, strings ...).

    >>> as_dtype("float16"), as_dtype(np.int32), as_dtype(float)
    (clnet.float16, clnet.int32, clnet.float32)
    """
    if isinstance(value, DType):
        return value
    if value in _PYTHON:
        return _PYTHON[value]
    name = value if isinstance(value, str) else None
    if name is None:
        try:
            name = np.dtype(value).name
        except TypeError:
            name = str(value)
    found = DTYPES.get(name.removeprefix("clnet."))
    if found is None:
        raise DTypeError(f"dtype: {value!r} is not supported; choose one of {', '.join(DTYPES)}")
    return found


def promote(a: DType, b: DType) -> DType:
    """Return the dtype that holds both, as PyTorch's promote_types does.

    >>> promote(int64, float16), promote(float16, bfloat16)
    (clnet.float16, clnet.float32)
    """
    if {a, b} == {float16, bfloat16}:
        return float32
    return a if a.rank >= b.rank else b


def scalar_dtype(value: bool | int | float) -> DType:
    """Return the default dtype of a Python number: bool, int64 or float32."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    return int64 if isinstance(value, (int, np.integer)) else float32


def result_type(tensors: list[tuple[DType, int]], scalars: list[Any]) -> DType:
    """Return the common dtype of operands: tensors as (dtype, number of dimensions), numbers.

    PyTorch's rule: tensors with dimensions decide; 0-d tensors, then Python numbers, count only
    where they are of a higher kind (bool < integer < float).
    """
    dimensioned = [d for d, ndim in tensors if ndim > 0]
    zero_d = [d for d, ndim in tensors if ndim == 0]
    result: DType | None = None
    for group in (dimensioned, zero_d, [scalar_dtype(s) for s in scalars]):
        if not group:
            continue
        common = group[0]
        for other in group[1:]:
            common = promote(common, other)
        if result is None or _KINDS[common.kind] > _KINDS[result.kind]:
            result = common
    assert result is not None, "result_type needs at least one operand"
    return result


def default_of(kind: str) -> DType:
    """Return the default dtype of a kind: bool, int64 or float32."""
    return _DEFAULTS[kind]
