"""Dimension numbers and sizes as users give them, checked and made canonical."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

from clnet.errors import IndexOutOfRange, ShapeError


def as_dim(name: str, dim: int, ndim: int) -> int:
    """Return a dimension number counted from 0; negative ones count from the end.

    A 0-d tensor accepts 0 and -1, as in PyTorch. Errors: IndexOutOfRange.

    >>> as_dim("sum", -1, 3)
    2
    """
    count = max(ndim, 1)
    if not -count <= dim < count:
        raise IndexOutOfRange(
            f"{name}: dimension {dim} of a tensor with {ndim}; needs {-count} to {count - 1}"
        )
    return dim % count


def as_dims(name: str, dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return dimension numbers counted from 0, each once. Errors: IndexOutOfRange, ShapeError."""
    result = tuple(as_dim(name, d, ndim) for d in dims)
    if len(set(result)) != len(result):
        raise ShapeError(f"{name}: dimensions {list(dims)} name one twice; needs each at most once")
    return result


def as_sizes(name: str, sizes: Sequence[Any], least: int = 0) -> tuple[int, ...]:
    """Return sizes given as `f(2, 3)` or `f((2, 3))` as a tuple of ints, none below `least`.

    >>> as_sizes("zeros", ((2, 3),)), as_sizes("zeros", (2, 3))
    ((2, 3), (2, 3))
    """
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    try:
        result = tuple(operator.index(n) for n in sizes)
    except TypeError:
        given = ", ".join(repr(n) for n in sizes)
        raise ShapeError(f"{name}: sizes are ({given}); needs integers") from None
    if any(n < least for n in result):
        raise ShapeError(f"{name}: sizes are {list(result)}; needs none below {least}")
    return result


def inferred(name: str, sizes: tuple[int, ...], size: int, given: object) -> tuple[int, ...]:
    """Return sizes with their one -1 replaced, so that they hold `size` elements.

    >>> inferred("reshape", (2, -1), 6, "float32[6]")
    (2, 3)
    """
    if sizes.count(-1) == 0:
        return sizes
    rest = prod(n for n in sizes if n != -1)
    if sizes.count(-1) > 1 or rest == 0 or size % rest:
        raise ShapeError(
            f"{name}: cannot give {given} the shape {list(sizes)}; needs at most one -1, "
            f"and other sizes that divide {size}"
        )
    return tuple(size // rest if n == -1 else n for n in sizes)
