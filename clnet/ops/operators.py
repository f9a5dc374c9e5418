"""Python's operators and the in-place methods, made from the records.

An op with a `symbol` becomes that operator. Every elementwise method `f` has an in-place twin `f_`,
which gives the tensor another value: its shape and dtype stay, so a result of a higher kind (bool <
integer < float) or of another shape is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from clnet.core import METHODS, Tensor, method
from clnet.dtypes import as_dtype
from clnet.errors import DTypeError, ShapeError
from clnet.ops import arithmetic  # noqa: F401  replaces records by functions with options
from clnet.ops.convert import to
from clnet.ops.create import full_like
from clnet.ops.elementwise import cast
from clnet.ops.views import expand
from clnet.records import OPS, Op

_KINDS = "bif"
_NUMBERS = (Tensor, bool, int, float, np.generic)
# Arrays and lists go on to the op, which says how to make a tensor of them.
_OPERANDS = (*_NUMBERS, np.ndarray, list, tuple)
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


# --- operators -----------------------------------------------------------------------------------
def _function(op: Op) -> Callable[..., Any]:
    """Return what users call by the op's name: the record, or the composition in its place."""
    return METHODS.get(op.name, op)


def _unary(dunder: str, function: Callable[..., Any]) -> None:
    def operator(self: Tensor) -> Tensor:
        return function(self)

    operator.__name__ = operator.__qualname__ = dunder
    method(dunder)(operator)


def _binary(dunder: str, function: Callable[..., Any], operands: Any, flipped: bool) -> None:
    def operator(self: Tensor, other: Any) -> Tensor:
        if not isinstance(other, operands):
            return NotImplemented
        return function(self, other)

    def reflected(self: Tensor, other: Any) -> Tensor:
        if not isinstance(other, operands):
            return NotImplemented
        return function(other, self)

    chosen = reflected if flipped else operator
    chosen.__name__ = chosen.__qualname__ = dunder
    method(dunder)(chosen)


def install_operators(op: Op) -> None:
    """Make an op with a symbol Python's operator, its reflection and its in-place form."""
    function, symbol = _function(op), op.symbol
    if len(op.samples[0].args) == 1:
        _unary(f"__{symbol}__", function)
        return
    if symbol in _COMPARISONS:
        # `x == [1]` is False as for any foreign type; other comparisons have no such answer.
        operands = (*_NUMBERS, np.ndarray) if symbol in ("eq", "ne") else _OPERANDS
        _binary(f"__{symbol}__", function, operands, False)
        return
    _binary(f"__{symbol}__", function, _OPERANDS, False)
    _binary(f"__r{symbol}__", function, _OPERANDS, True)

    def augmented(self: Tensor, other: Any) -> Tensor:
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        return store(f"__i{symbol}__", self, function(self, other))

    augmented.__name__ = augmented.__qualname__ = f"__i{symbol}__"
    method(f"__i{symbol}__")(augmented)


@method("__pos__")
def _positive(self: Tensor) -> Tensor:
    return self


# --- in place ------------------------------------------------------------------------------------
def store(name: str, input: Tensor, result: Tensor) -> Tensor:
    """Give a tensor the value of a result of its shape, cast to its dtype, and return it.

    Errors: ShapeError; DTypeError where the result is of a higher kind; GradientError for a leaf.
    """
    given = result.node.spec
    if given.shape != input.shape:
        raise ShapeError(
            f"{name}: the result {given} does not fit in place of {input.node.spec}; "
            f"use the method without _ for a new tensor"
        )
    if _KINDS.index(given.dtype.kind) > _KINDS.index(input.dtype.kind):
        raise DTypeError(
            f"{name}: the result {given} cannot be cast to {input.dtype.name} in place; "
            f"use x.to({given.dtype!r}) first"
        )
    if given.dtype is not input.dtype:
        result = cast(result, dtype=input.dtype)
    return input.assign(result)


def install_in_place(name: str) -> None:
    """Make the in-place twin `name_` of the method `name`."""
    function = METHODS[name]
    twin = f"{name}_"

    def in_place(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return store(twin, input, function(input, *args, **options))

    if not isinstance(function, Op):
        in_place.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    in_place.__name__ = in_place.__qualname__ = twin
    in_place.__doc__ = f"In-place `{name}`: this tensor takes the result, and is returned."
    method(twin)(in_place)


@method("copy_")
def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Take the values of src: a number, or a tensor of any dtype and device that broadcasts.

    Errors: ShapeError; GradientError for a leaf that requires grad, outside `no_grad`.

    >>> import clnet as cn
    >>> cn.zeros(2, 2).copy_(cn.tensor([1, 2]))
    tensor([[1., 2.],
            [1., 2.]])
    """
    if not isinstance(src, Tensor):
        if not isinstance(src, _NUMBERS):
            raise DTypeError(
                f"copy_: src is a {type(src).__name__}; needs a Tensor or a number "
                "(make one with cn.tensor(...))"
            )
        src = full_like(input, _python(src, input))
    if src.node.device is not None and src.node.device is not input.node.device:
        src = to(src, device=input.device)
    if src.dtype is not input.dtype:
        src = cast(src, dtype=input.dtype)
    if src.shape != input.shape:
        src = expand(src, shape=input.shape)
    return input.assign(src)


def _python(value: Any, like: Tensor) -> Any:
    """Return a number as the Python number that a store to an integer or bool tensor keeps."""
    return {"b": bool, "i": int, "f": float}[as_dtype(like.dtype).kind](value)


@method("fill_")
def fill_(input: Tensor, value: Any) -> Tensor:
    """Set every element to a number or the value of a 0-d tensor."""
    if isinstance(value, Tensor) and value.shape:
        raise ShapeError(f"fill_: value is {value.node.spec}; needs a number or 0-d tensor")
    return copy_(input, value)


@method("zero_")
def zero_(input: Tensor) -> Tensor:
    """Set every element to 0."""
    return copy_(input, 0)


for _op in list(OPS.values()):
    if _op.symbol:
        install_operators(_op)
_RECORDS = [op.name for op in OPS.values() if op.expr is not None and op.method]
_COMPOSITIONS = ("clamp", "clip", "fmod", "masked_fill", "lerp", "addcmul", "addcdiv", "nan_to_num")
for _name in (*_RECORDS, *_COMPOSITIONS):
    install_in_place(_name)
