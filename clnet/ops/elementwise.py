"""Elementwise ops: an OpenCL C expression each, so that chains of them fuse into one kernel.

In an expression x, y, z are the operands and `T` is the arithmetic type. Floating-point constants
are written without suffix; the engine gives them that of the dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from clnet.binding import broadcast_shapes
from clnet.core import method
from clnet.dtypes import DType, as_dtype, bool_
from clnet.errors import DTypeError
from clnet.records import OPS, Arg, Op, Sample, Spec, register


def _same(name: str, result: DType | None = None, kinds: str = "bif") -> Callable[..., Spec]:
    """Return the rule of ops whose result has the operands' shape and `result` or their dtype."""

    def spec(*operands: Spec) -> Spec:
        last = operands[-1]
        for o in operands:
            if o.dtype.kind not in kinds:
                words = {"b": "bool", "i": "integer", "f": "floating-point"}
                given = ", ".join(map(str, operands))
                wanted = " or ".join(words[k] for k in kinds)
                raise DTypeError(f"{name}: got {given}; needs {wanted} operands")
        shape = last.shape
        for o in operands:
            if o.shape != shape:
                shape = broadcast_shapes(name, *operands)
                break
        if shape is last.shape and result is None:
            return last
        return Spec(shape, result or last.dtype)

    return spec


def _cost(out: Spec, *operands: Spec) -> tuple[float, float]:
    return float(out.size), float(sum(s.size * s.dtype.itemsize for s in (out, *operands)))


def elementwise(
    name: str,
    doc: str,
    expr: str | Mapping[str, str],
    reference: Callable[..., Any],
    vjp: tuple[Any, ...] | None = None,
    *,
    arity: int = 1,
    low: float | tuple[float, ...] = -2.0,
    high: float | tuple[float, ...] = 2.0,
    promote: str = "same",
    result: DType | None = None,
    kinds: str = "bif",
    grad: bool = True,
    symbol: str = "",
) -> Op:
    """Register an elementwise record; its samples are a matrix, and broadcast pairs."""
    lows = low if isinstance(low, tuple) else (low,) * arity
    highs = high if isinstance(high, tuple) else (high,) * arity
    shapes: list[tuple[tuple[int, ...], ...]] = [((2, 3),) * arity]
    if arity > 1:
        shapes.append(tuple((2, 1) if i % 2 else (3,) for i in range(arity)))
    samples = tuple(
        Sample(
            tuple(Arg(s, a, b) for s, a, b in zip(group, lows, highs, strict=True)),
            grad=grad and vjp is not None,
        )
        for group in shapes
    )
    op = register(
        Op(
            name,
            doc,
            _same(name, result, kinds),
            reference,
            samples,
            vjp,
            promote=promote,
            broadcast=arity > 1,
            expr=expr,
            cost=_cost,
            symbol=symbol,
            method=True,
        )
    )
    return method(name)(op)


# --- arithmetic ----------------------------------------------------------------------------------
_PER_BOOL = {"b": "x || y", "i": "x + y", "f": "x + y"}
add: Op = elementwise(
    "add", "Add elementwise: x + y.", _PER_BOOL, np.add,
    (lambda d, r, x, y: d, lambda d, r, x, y: d), arity=2, symbol="add",
)  # fmt: skip
sub: Op = elementwise(
    "sub", "Subtract elementwise: x - y.", "x - y", np.subtract,
    (lambda d, r, x, y: d, lambda d, r, x, y: -d), arity=2, kinds="if", symbol="sub",
)  # fmt: skip
mul: Op = elementwise(
    "mul", "Multiply elementwise: x * y.", "x * y", np.multiply,
    (lambda d, r, x, y: d * y, lambda d, r, x, y: d * x), arity=2, symbol="mul",
)  # fmt: skip
div: Op = elementwise(
    "div", "Divide elementwise: x / y; integers give float32.", "x / y", np.true_divide,
    (lambda d, r, x, y: d / y, lambda d, r, x, y: -d * r / y),
    arity=2, low=(-2.0, 0.5), promote="float", kinds="f", symbol="truediv",
)  # fmt: skip
# fmod is exact, where x / y is rounded and may overflow; it takes the sign of x.
_OTHER_SIGN = "fmod(x, y) != 0 && ((x < 0) != (y < 0))"
_FLOOR_DIVIDE = "y == 0 ? 0 : (x / y - (((x / y) * y != x) && ((x < 0) != (y < 0))))"
floor_divide: Op = elementwise(
    "floor_divide",
    "Divide elementwise and round towards minus infinity; an integer divided by 0 gives 0.",
    {"i": _FLOOR_DIVIDE, "f": f"y == 0 ? x / y : rint((x - fmod(x, y)) / y) - ({_OTHER_SIGN})"},
    np.floor_divide,
    arity=2, low=(-9.0, 1.0), high=9.0, kinds="if", symbol="floordiv",
)  # fmt: skip
_REMAINDER = "y == 0 ? 0 : ((x % y) + ((((x % y) != 0) && ((x < 0) != (y < 0))) ? y : 0))"
remainder: Op = elementwise(
    "remainder",
    "Remainder with the sign of the divisor, as Python's %; an integer modulo 0 gives 0.",
    {"i": _REMAINDER, "f": f"({_OTHER_SIGN}) ? fmod(x, y) + y : fmod(x, y)"},
    np.remainder,
    (lambda d, r, x, y: d, lambda d, r, x, y: -d * floor(x / y)),
    arity=2, low=(-2.0, 3.0), high=(2.0, 5.0), kinds="if", symbol="mod",
)  # fmt: skip
_pow_x = lambda d, r, x, y: d * y * pow(x, y - 1)  # noqa: E731
_pow_y = lambda d, r, x, y: d * where(x > 0, r * log(where(x > 0, x, 1)), 0)  # noqa: E731


def _power(x: Any, y: Any) -> Any:
    if x.dtype.kind == "f":
        return np.power(x, y)
    inverse = np.where(x == 1, 1, np.where(x == -1, 1 - 2 * (y & 1), 0)).astype(x.dtype)
    return np.where(y < 0, inverse, np.power(x, np.maximum(y, 0)))


pow: Op = elementwise(
    "pow",
    "Raise x to the power y; a negative power of an integer other than 1 and -1 is 0.",
    {"i": "(T)IPOW(x, y)", "f": "MATH(pow, D)(x, y)"},
    _power,
    (_pow_x, _pow_y),
    arity=2, low=(0.3, -1.0), high=(2.0, 2.0), kinds="if", symbol="pow",
)  # fmt: skip
maximum: Op = elementwise(
    "maximum", "Larger of two, NaN if either is NaN; ties share the gradient.",
    "(x != x || x > y) ? x : y", np.maximum,
    (lambda d, r, x, y: d * _share(x, y), lambda d, r, x, y: d * _share(y, x)),
    arity=2,
)  # fmt: skip
minimum: Op = elementwise(
    "minimum", "Smaller of two, NaN if either is NaN; ties share the gradient.",
    "(x != x || x < y) ? x : y", np.minimum,
    (lambda d, r, x, y: d * _share(y, x), lambda d, r, x, y: d * _share(x, y)),
    arity=2,
)  # fmt: skip


def _share(winner: Any, loser: Any) -> Any:
    return where(winner > loser, 1.0, where(winner == loser, 0.5, 0.0)).to(winner.dtype)


neg: Op = elementwise(
    "neg", "Negate: -x.", "-x", np.negative, (lambda d, r, x: -d,), kinds="if", symbol="neg"
)
abs: Op = elementwise(
    "abs", "Absolute value.", {"b": "x", "i": "x < 0 ? -x : x", "f": "fabs(x)"}, np.abs,
    (lambda d, r, x: d * sign(x),), low=0.3, symbol="abs",
)  # fmt: skip
sign: Op = elementwise(
    "sign", "Sign: -1, 0 or 1; NaN stays NaN.",
    "x != x ? x : (T)((x > 0) - (x < 0))", np.sign, (lambda d, r, x: d * 0,), low=0.3, kinds="if",
)  # fmt: skip
square: Op = elementwise(
    "square", "Square: x * x.", "x * x", np.square, (lambda d, r, x: 2 * d * x,)
)
reciprocal: Op = elementwise(
    "reciprocal", "Reciprocal: 1 / x.", "1 / x", lambda x: 1 / x,
    (lambda d, r, x: -d * r * r,), low=0.5, promote="float", kinds="f",
)  # fmt: skip

# --- rounding ------------------------------------------------------------------------------------
_flat = (lambda d, r, x: d * 0,)
for _name, _doc, _c, _np in (
    ("floor", "Round towards minus infinity.", "floor(x)", np.floor),
    ("ceil", "Round towards plus infinity.", "ceil(x)", np.ceil),
    ("round", "Round to the nearest integer, halves to even.", "rint(x)", np.rint),
    ("trunc", "Round towards zero.", "trunc(x)", np.trunc),
):
    elementwise(_name, _doc, {"i": "x", "f": _c}, _np, _flat, kinds="if", low=0.6, high=0.9)
floor: Op = OPS["floor"]
ceil: Op = OPS["ceil"]
round: Op = OPS["round"]
trunc: Op = OPS["trunc"]


# --- exponentials, roots, trigonometry -----------------------------------------------------------
def _float(name: str, doc: str, expr: str, reference: Any, vjp: Any, **options: Any) -> Op:
    """Register a function of one floating-point operand; integers become float32."""
    return elementwise(name, doc, expr, reference, (vjp,), promote="float", kinds="f", **options)


exp: Op = _float("exp", "Exponential e^x.", "MATH(exp, D)(x)", np.exp, lambda d, r, x: d * r)
exp2: Op = _float(
    "exp2", "Power of two 2^x.", "MATH(exp2, D)(x)", np.exp2, lambda d, r, x: d * r * math.log(2.0)
)
expm1: Op = _float(
    "expm1", "e^x - 1, accurate near 0.", "MATH(expm1, D)(x)", np.expm1, lambda d, r, x: d * (r + 1)
)
log: Op = _float(
    "log", "Natural logarithm.", "MATH(log, D)(x)", np.log, lambda d, r, x: d / x, low=0.3
)
log2: Op = _float(
    "log2", "Base-2 logarithm.", "MATH(log2, D)(x)", np.log2,
    lambda d, r, x: d / (x * math.log(2.0)), low=0.3,
)  # fmt: skip
log10: Op = _float(
    "log10", "Base-10 logarithm.", "MATH(log10, D)(x)", np.log10,
    lambda d, r, x: d / (x * math.log(10.0)), low=0.3,
)  # fmt: skip
log1p: Op = _float(
    "log1p", "log(1 + x), accurate near 0.", "MATH(log1p, D)(x)", np.log1p,
    lambda d, r, x: d / (1 + x), low=-0.5,
)  # fmt: skip
sqrt: Op = _float("sqrt", "Square root.", "sqrt(x)", np.sqrt, lambda d, r, x: d / (2 * r), low=0.3)
rsqrt: Op = _float(
    "rsqrt", "1 / sqrt(x).", "rsqrt(x)", lambda x: 1 / np.sqrt(x),
    lambda d, r, x: -d * r / (2 * x), low=0.3,
)  # fmt: skip
sin: Op = _float(
    "sin", "Sine, x in radians.", "MATH(sin, D)(x)", np.sin, lambda d, r, x: d * cos(x)
)
cos: Op = _float(
    "cos", "Cosine, x in radians.", "MATH(cos, D)(x)", np.cos, lambda d, r, x: -d * sin(x)
)
tan: Op = _float(
    "tan", "Tangent, x in radians.", "MATH(tan, D)(x)", np.tan, lambda d, r, x: d * (1 + r * r),
    low=-1.2, high=1.2,
)  # fmt: skip
asin: Op = _float(
    "asin", "Inverse sine, in radians.", "MATH(asin, D)(x)", np.arcsin,
    lambda d, r, x: d * rsqrt(1 - x * x), low=-0.8, high=0.8,
)  # fmt: skip
acos: Op = _float(
    "acos", "Inverse cosine, in radians.", "MATH(acos, D)(x)", np.arccos,
    lambda d, r, x: -d * rsqrt(1 - x * x), low=-0.8, high=0.8,
)  # fmt: skip
atan: Op = _float(
    "atan",
    "Inverse tangent, in radians.",
    "MATH(atan, D)(x)",
    np.arctan,
    lambda d, r, x: d / (1 + x * x),
)
sinh: Op = _float(
    "sinh", "Hyperbolic sine.", "MATH(sinh, D)(x)", np.sinh, lambda d, r, x: d * cosh(x)
)
cosh: Op = _float(
    "cosh", "Hyperbolic cosine.", "MATH(cosh, D)(x)", np.cosh, lambda d, r, x: d * sinh(x)
)
tanh: Op = _float(
    "tanh", "Hyperbolic tangent.", "MATH(tanh, D)(x)", np.tanh,
    lambda d, r, x: d * (1 - r * r),
)  # fmt: skip
sigmoid: Op = _float(
    "sigmoid", "Logistic function 1 / (1 + e^-x).", "1 / (1 + MATH(exp, D)(-x))",
    lambda x: 1 / (1 + np.exp(-x)), lambda d, r, x: d * r * (1 - r),
)  # fmt: skip
_erf = np.vectorize(math.erf, otypes=[np.float64])
erf: Op = _float(
    "erf", "Error function.", "MATH(erf, D)(x)", lambda x: _erf(x).astype(x.dtype),
    lambda d, r, x: d * (2 / math.sqrt(math.pi)) * exp(-x * x),
)  # fmt: skip
softplus_expr = "fmax(x, (T)0) + MATH(log1p, D)(MATH(exp, D)(-fabs(x)))"
softplus: Op = _float(
    "softplus", "log(1 + e^x), without overflow.", softplus_expr,
    lambda x: np.logaddexp(x, 0).astype(x.dtype), lambda d, r, x: d * sigmoid(x),
)  # fmt: skip
relu: Op = elementwise(
    "relu", "max(x, 0); NaN stays NaN.", "x < 0 ? 0 : x", lambda x: np.maximum(x, 0),
    (lambda d, r, x: where(r > 0, d, 0),), low=0.3, kinds="if",
)  # fmt: skip
atan2: Op = elementwise(
    "atan2", "Angle of the point (y, x): atan2(first, second), in radians.", "atan2(x, y)",
    np.arctan2,
    (lambda d, r, x, y: d * y / (x * x + y * y), lambda d, r, x, y: -d * x / (x * x + y * y)),
    arity=2, low=0.3, promote="float", kinds="f",
)  # fmt: skip
hypot: Op = elementwise(
    "hypot", "sqrt(x^2 + y^2) without overflow.", "hypot(x, y)", np.hypot,
    (lambda d, r, x, y: d * x / r, lambda d, r, x, y: d * y / r),
    arity=2, low=0.3, promote="float", kinds="f",
)  # fmt: skip


# --- comparison and logic ------------------------------------------------------------------------
def _to_bool(name: str, doc: str, expr: str, reference: Any, arity: int = 2, **options: Any) -> Op:
    """Register an op whose result is bool."""
    return elementwise(
        name, doc, expr, reference, arity=arity, result=bool_, low=-2, high=2, **options
    )


eq: Op = _to_bool("eq", "x == y.", "x == y", np.equal, symbol="eq")
ne: Op = _to_bool("ne", "x != y.", "x != y", np.not_equal, symbol="ne")
lt: Op = _to_bool("lt", "x < y.", "x < y", np.less, symbol="lt")
le: Op = _to_bool("le", "x <= y.", "x <= y", np.less_equal, symbol="le")
gt: Op = _to_bool("gt", "x > y.", "x > y", np.greater, symbol="gt")
ge: Op = _to_bool("ge", "x >= y.", "x >= y", np.greater_equal, symbol="ge")
logical_and: Op = _to_bool("logical_and", "Both are nonzero.", "x && y", np.logical_and)
logical_or: Op = _to_bool("logical_or", "One is nonzero.", "x || y", np.logical_or)
logical_xor: Op = _to_bool(
    "logical_xor", "Exactly one is nonzero.", "(x != 0) != (y != 0)", np.logical_xor
)
logical_not: Op = _to_bool("logical_not", "Is zero.", "!x", np.logical_not, 1)
# Written so that a compiler which assumes finite values cannot fold them away.
isnan: Op = _to_bool("isnan", "Is not a number.", "isnan(x)", np.isnan, 1, kinds="f")
isinf: Op = _to_bool("isinf", "Is plus or minus infinity.", "isinf(x)", np.isinf, 1, kinds="f")
isfinite: Op = _to_bool("isfinite", "Is finite.", "isfinite(x)", np.isfinite, 1, kinds="f")


def _bits(name: str, doc: str, c: str, reference: Any, symbol: str) -> Op:
    return elementwise(
        name, doc, c, reference, arity=2 if "y" in c else 1, kinds="bi", symbol=symbol
    )


bitwise_and: Op = _bits("bitwise_and", "Bitwise and.", "x & y", np.bitwise_and, "and")
bitwise_or: Op = _bits("bitwise_or", "Bitwise or.", "x | y", np.bitwise_or, "or")
bitwise_xor: Op = _bits("bitwise_xor", "Bitwise exclusive or.", "x ^ y", np.bitwise_xor, "xor")
bitwise_not: Op = elementwise(
    "bitwise_not", "Bitwise complement; of bool, logical not.", {"b": "!x", "i": "~x"},
    np.invert, kinds="bi", symbol="invert",
)  # fmt: skip

# --- selection and conversion --------------------------------------------------------------------


def _where_spec(condition: Spec, x: Spec, y: Spec) -> Spec:
    if condition.dtype is not bool_:
        raise DTypeError(f"where: condition is {condition}; needs bool (compare, or .bool())")
    return _same("where")(x, y)._replace(shape=broadcast_shapes("where", condition, x, y))


where: Op = register(
    Op(
        "where",
        "Take x where the condition holds, else y.",
        _where_spec,
        np.where,
        (
            Sample((Arg((2, 3), dtype="bool"), Arg((2, 3)), Arg((2, 3)))),
            Sample((Arg((3, 1), dtype="bool"), Arg((2,)), Arg((1, 2)))),
        ),
        (None, lambda d, r, c, x, y: where(c, d, 0), lambda d, r, c, x, y: where(c, 0, d)),
        promote="last",
        broadcast=True,
        expr="x ? y : z",
        cost=_cost,
    )
)


def _cast_reference(x: Any, dtype: DType) -> Any:
    return np.asarray(x).astype(as_dtype(dtype).storage)


cast: Op = register(
    Op(
        "cast",
        "Convert to another dtype; floats truncate to integers, nonzero becomes True.",
        lambda x, dtype: Spec(x.shape, dtype),
        _cast_reference,
        tuple(
            Sample((Arg((2, 3), 0.0, 9.0),), {"dtype": as_dtype(d)}, grad=d == "float64")
            for d in ("float32", "float64", "float16", "int32", "int64", "uint8", "bool")
        ),
        (lambda d, r, x, dtype: cast(d, dtype=x.dtype),),
        expr="x",
        cost=lambda out, x, dtype: _cost(out, x),
    )
)
