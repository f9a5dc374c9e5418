"""Compositions of elementwise ops: those with PyTorch's options, clamping, comparing, mixing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clnet.core import METHODS, Tensor, method
from clnet.dtypes import float16, float32, float64
from clnet.errors import DTypeError, ShapeError
from clnet.ops import elementwise as e
from clnet.ops.convert import item


def _instead_of_record(function: Any) -> Any:
    """Make a function with PyTorch's options the method, in place of the record of its name."""
    del METHODS[function.__name__]
    return method(function.__name__)(function)


@_instead_of_record
def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Add elementwise: input + alpha * other.

    >>> import clnet as cn
    >>> cn.add(cn.tensor([1.0, 2.0]), 1, alpha=10)
    tensor([11., 12.])
    """
    return e.add(input, other if alpha == 1 else e.mul(other, alpha))


@_instead_of_record
def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Subtract elementwise: input - alpha * other."""
    return e.sub(input, other if alpha == 1 else e.mul(other, alpha))


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Subtract from: other - alpha * input."""
    return sub(other, input, alpha=alpha)


@_instead_of_record
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Divide elementwise; rounding_mode None (integers give float32), "trunc" or "floor".

    >>> import clnet as cn
    >>> cn.div(cn.tensor([-7, 7]), 2, rounding_mode="trunc")
    tensor([-3,  3])
    """
    if rounding_mode is None:
        return e.div(input, other)
    if rounding_mode == "floor":
        return e.floor_divide(input, other)
    if rounding_mode != "trunc":
        raise ValueError(f"div: rounding_mode is {rounding_mode!r}; needs None, 'trunc' or 'floor'")
    quotient = e.floor_divide(input, other)
    if quotient.dtype.is_floating_point:
        return e.trunc(e.div(input, other))
    # The floor is one below the truncation where a negative quotient left a remainder.
    below = (quotient < 0) & (e.mul(quotient, other) != input)
    return e.where(below, quotient + 1, quotient)


@_instead_of_record
def pow(input: Any, exponent: Any) -> Tensor:
    """Raise to a power; small constant exponents are multiplications, roots and reciprocals.

    >>> import clnet as cn
    >>> cn.tensor([2.0, 3.0]) ** 2, 2 ** cn.tensor([2.0, 3.0])
    (tensor([4., 9.]), tensor([4., 8.]))
    """
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)):
        floating = input.dtype.is_floating_point
        if exponent == 2 and (floating or isinstance(exponent, int)):
            return e.square(input)
        if floating and exponent in _POWERS:
            return _POWERS[exponent](input)
    return e.pow(input, exponent)


_POWERS: dict[float, Callable[[Any], Tensor]] = {
    3: lambda x: x * e.square(x),
    0.5: e.sqrt,
    -0.5: e.rsqrt,
    -1: e.reciprocal,
    -2: lambda x: e.reciprocal(e.square(x)),
}


@method("fmod")
def fmod(input: Any, other: Any) -> Tensor:
    """Remainder with the sign of the dividend, as C's fmod."""
    return e.sub(input, e.mul(div(input, other, rounding_mode="trunc"), other))


@method("clamp")
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Limit to at least min and at most max (numbers or tensors); NaN stays NaN.

    Where min > max the result is max. The gradient at a limit itself is that of the input. Errors:
    ValueError if neither is given.

    >>> import clnet as cn
    >>> cn.clamp(cn.tensor([-1.0, 0.5, 2.0]), 0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if min is None and max is None:
        raise ValueError("clamp: neither min nor max is given; needs one of them")
    result = input
    if min is not None:
        result = e.where(result < min, min, result)
    if max is not None:
        result = e.where(result > max, max, result)
    return result


@method("clip")
def clip(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Limit to at least min and at most max: `clamp` by NumPy's name."""
    return clamp(input, min, max)


@method("where")
def _where(input: Any, condition: Tensor, other: Any) -> Tensor:
    """Take this tensor where the condition holds, else other."""
    return e.where(condition, input, other)


@method("masked_fill")
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Replace the elements where the mask holds by a value (a number or 0-d tensor).

    Errors: DTypeError for a mask that is not bool, or a value of a higher kind than the input.

    >>> import clnet as cn
    >>> cn.tensor([1.0, 2.0]).masked_fill(cn.tensor([True, False]), 0)
    tensor([0., 2.])
    """
    if isinstance(value, Tensor) and value.shape:
        raise ShapeError(f"masked_fill: value is {value.node.spec}; needs a number or 0-d tensor")
    result = e.where(mask, value, input)
    if result.dtype is not input.dtype:
        raise DTypeError(f"masked_fill: {value!r} does not fit {input.node.spec}; cast one of them")
    return result


@method("lerp")
def lerp(input: Tensor, end: Any, weight: Any) -> Tensor:
    """Interpolate linearly: input + weight * (end - input)."""
    return input + e.mul(weight, end - input)


@method("addcmul")
def addcmul(input: Tensor, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
    """Add a product: input + value * tensor1 * tensor2."""
    return add(input, e.mul(tensor1, tensor2), alpha=value)


@method("addcdiv")
def addcdiv(input: Tensor, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
    """Add a quotient: input + value * tensor1 / tensor2."""
    return add(input, e.div(tensor1, tensor2), alpha=value)


@method("logaddexp")
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(e^input + e^other) without overflow."""
    # Equal infinities have no difference; their own sum is the answer.
    distance = e.where(input == other, 0, e.abs(input - other))
    return e.maximum(input, other) + e.log1p(e.exp(-distance))


@method("nan_to_num")
def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Replace NaN by `nan`, infinities by posinf and neginf (default: the largest numbers)."""
    if not input.dtype.is_floating_point:
        return input
    largest = _LARGEST.get(input.dtype, _LARGEST[float32])
    infinite, positive = e.isinf(input), input > 0
    result = e.where(e.isnan(input), nan, input)
    result = e.where(infinite & positive, largest if posinf is None else posinf, result)
    negative = e.logical_not(positive)
    return e.where(infinite & negative, -largest if neginf is None else neginf, result)


_LARGEST = {
    float16: 65504.0,
    float32: 3.4028234663852886e38,
    float64: 1.7976931348623157e308,
}


@method("isclose")
def isclose(
    input: Tensor,
    other: Any,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, elementwise; equal infinities are close."""
    near = e.abs(input - other) <= atol + rtol * e.abs(other)
    # An infinity on one side makes the bound infinite too.
    close = e.eq(input, other) | (near & e.isfinite(input * 1.0) & e.isfinite(other * 1.0))
    if equal_nan:
        close = close | ((input != input) & e.ne(other, other))
    return close


@method("__contains__")
def _contains(input: Tensor, element: Any) -> bool:
    """Whether a number is among the elements; waits for the device."""
    return item(e.eq(input, element).any())


@method("allclose")
def allclose(
    input: Tensor,
    other: Any,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> bool:
    """Whether all elements are close, as `isclose` says; waits for the device."""
    return item(isclose(input, other, rtol, atol, equal_nan).all())


@method("equal")
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements; waits for the device."""
    if input.shape != other.shape:
        return False
    return item(e.eq(input, other).all())
