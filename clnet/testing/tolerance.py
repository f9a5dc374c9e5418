"""How far a result may lie from its reference: the one table of tolerances, and the comparison."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from clnet.dtypes import DType, bfloat16
from clnet.ops.create import bfloat16_bits
from clnet.records import Op


class Tolerance(NamedTuple):
    """|got - expected| may be at most atol + rtol * |expected|; `reason` says why so much."""

    rtol: float
    atol: float
    reason: str


# Distance from 1 to the next number, and the least normal number: smaller ones may become 0.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
TINY = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-24, "bfloat16": 2.0**-126}

_NARROW = "computed in float32 and rounded once to nearest: half a unit, one where that is a tie"
# kind of op -> (units in the last place, the same of the number 1, reason); see `kind_of`.
_UNITS = {
    "exact": (0, 0, "values are moved, compared or chosen, and integers are exact"),
    "rounded": (8, 0, "OpenCL allows a division 2.5 units; a few roundings in one expression"),
    "function": (32, 2, "OpenCL allows pow 16 units and most functions 4; expressions have two"),
    "accumulated": (32, 64, "sums of up to 1000 terms near 1; cancellation is relative to these"),
}

TABLE: dict[tuple[str, str], Tolerance] = {
    (dtype, kind): (
        Tolerance(0.0, 0.0, reason)
        if not units
        else Tolerance(EPS[dtype], TINY[dtype], _NARROW)
        if dtype in ("float16", "bfloat16") and kind != "accumulated"
        else Tolerance(units * EPS["float32"] + EPS[dtype], one * EPS["float32"], reason)
        if dtype in ("float16", "bfloat16")
        else Tolerance(units * EPS[dtype], one * EPS[dtype] + TINY[dtype], reason)
    )
    for dtype in EPS
    for kind, (units, one, reason) in _UNITS.items()
} | {
    ("float64", "gradient"): Tolerance(
        1e-6, 1e-8, "central differences: step^2 = 1e-10 of curvature, 1e-16 / step = 1e-11 noise"
    ),
    ("float64", "second gradient"): Tolerance(
        1e-5, 1e-6, "differences of differences: step^2 = 1e-8, 1e-16 / step^2 = 1e-8 noise"
    ),
    ("float32", "gradient"): Tolerance(
        2e-2, 2e-3, "central differences in float32: 1e-7 / step = 1e-4 noise a term, and its sums"
    ),
}

_CALL = re.compile(r"\b(?:[a-z]\w*|MATH)\(")


def kind_of(op: Op, result: DType, flops: float = 1.0) -> str:
    """Return the row of the table for a record's result: from what it is made of, not its name.

    >>> import clnet as cn
    >>> from clnet.records import OPS
    >>> [kind_of(OPS[name], cn.float32) for name in ("permute", "add", "exp", "sum")]
    ['exact', 'rounded', 'function', 'accumulated']
    """
    if result.kind != "f" or op.view is not None:
        return "exact"
    if op.expr is not None:
        expr = op.expr if isinstance(op.expr, str) else op.expr.get("f", op.expr["i"])
        return "function" if _CALL.search(expr) else "rounded"
    return "accumulated" if flops else "exact"


def rounded(values: Any, dtype: DType) -> np.ndarray:
    """Return float64 numbers rounded to a floating-point dtype, as float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype is bfloat16:
            bits = bfloat16_bits(np.asarray(values).astype(np.float32))
            return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return np.asarray(values).astype(dtype.storage).astype(np.float64)


def difference(got: np.ndarray, expected: np.ndarray, dtype: DType, kind: str) -> str | None:
    """Return in words where `got` lies further from `expected` than the table allows, or None.

    Infinities and NaN must stand where the reference has them. Shapes must be equal.
    """
    if np.shape(got) != np.shape(expected):
        return f"shape {list(np.shape(got))}; needs {list(np.shape(expected))}"
    if dtype.kind != "f":
        wrong = np.asarray(got != expected)
        allowed = "exactly"
    else:
        rtol, atol, _ = TABLE[dtype.name, kind]
        got, expected = np.asarray(got, np.float64), rounded(expected, dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(got - expected) <= atol + rtol * np.abs(expected)
        both_nan = np.isnan(got) & np.isnan(expected)
        wrong = np.asarray(~(near & np.isfinite(expected) | (got == expected) | both_nan))
        allowed = f"within rtol={rtol:.3g}, atol={atol:.3g} ({kind})"
    if not wrong.any():
        return None
    at = tuple(int(i[0]) for i in np.nonzero(np.atleast_1d(wrong)))
    first, second = np.atleast_1d(got)[at], np.atleast_1d(expected)[at]
    return (
        f"{int(wrong.sum())} of {wrong.size} elements differ, the first at {list(at)}: "
        f"{first!r}; needs {second!r} {allowed}"
    )
