"""Sums, means, extremes and norms over dims, with PyTorch's names and arguments."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from clnet.core import Tensor, method
from clnet.dtypes import DType, as_dtype, bool_
from clnet.errors import DTypeError
from clnet.ops import reduce
from clnet.ops.dims import as_dim, as_dims
from clnet.ops.elementwise import abs as absolute
from clnet.ops.elementwise import cast, exp, isfinite, log, maximum, minimum, sqrt, square, where
from clnet.ops.elementwise import pow as power
from clnet.ops.gather import gather
from clnet.ops.views import reshape
from clnet.records import Op

Dims = int | Sequence[int] | None


class Extreme(NamedTuple):
    """What `max`, `min`, `sort` and `topk` along a dim return: the elements and where they are."""

    values: Tensor
    indices: Tensor


def _dims(name: str, dim: Dims, ndim: int) -> tuple[int, ...]:
    """Return the dims to reduce, in order; None and () stand for all."""
    if dim is None or (not isinstance(dim, int) and not len(dim)):
        return tuple(range(ndim))
    given = (dim,) if isinstance(dim, int) else dim
    return tuple(sorted(as_dims(name, given, ndim))) if ndim else as_dims(name, given, 0)[:0]


def _kept(input: Tensor, result: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """Give a result over dims the reduced dims back, with size 1, if they are to be kept."""
    if not keepdim or not input.ndim:
        return result
    return reshape(result, shape=tuple(1 if i in dims else n for i, n in enumerate(input.shape)))


def _over(op: Op, input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    dims = _dims(op.name, dim, input.ndim)
    return _kept(input, op(input, dims=dims), dims, keepdim)


def _count(input: Tensor, dims: tuple[int, ...]) -> int:
    return math.prod(input.shape[i] for i in dims)


def _floating(name: str, input: Tensor) -> None:
    if input.dtype.kind != "f":
        raise DTypeError(
            f"{name}: got {input.node.spec}; needs a floating-point tensor (use x.float())"
        )


def _cast(input: Tensor, dtype: Any) -> Tensor:
    found: DType = as_dtype(dtype)
    return input if input.dtype is found else cast(input, dtype=found)


# --- sums and products ---------------------------------------------------------------------------
@method("sum")
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum over dims (all by default), computed in `dtype` if given.

    Integers and bool are summed in int64, 16-bit floats in float32; the rounding error does not
    grow with the number of elements (see kernels/reduce.cl). Errors: IndexOutOfRange, ShapeError.

    >>> import clnet as cn
    >>> cn.tensor([[1, 2], [3, 4]]).sum(dim=1)
    tensor([3, 7])
    """
    if dtype is not None:
        input = _cast(input, dtype)
    return _over(reduce.sum_, input, dim, keepdim)


@method("prod")
def prod(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the product over dims (all by default), computed in `dtype` if given.

    The gradient is right where elements are 0. Errors: IndexOutOfRange, ShapeError.

    >>> import clnet as cn
    >>> cn.tensor([2.0, 3.0]).prod()
    tensor(6.)
    """
    if dtype is not None:
        input = _cast(input, dtype)
    return _over(reduce.prod_, input, dim, keepdim)


@method("mean")
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the mean over dims (all by default): NaN over no elements.

    Errors: DTypeError unless the tensor, or `dtype`, is floating-point; IndexOutOfRange.

    >>> import clnet as cn
    >>> cn.tensor([1.0, 2.0]).mean()
    tensor(1.5000)
    """
    if dtype is not None:
        input = _cast(input, dtype)
    _floating("mean", input)
    dims = _dims("mean", dim, input.ndim)
    return sum(input, dims, keepdim) / _count(input, dims) if input.ndim else input / 1


@method("var")
def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Return the variance over dims: squared distances to the mean over (count - correction).

    correction defaults to 1 (Bessel's), to 0 with unbiased=False. Errors: DTypeError for integers.

    >>> import clnet as cn
    >>> cn.tensor([1.0, 2.0, 3.0]).var()
    tensor(1.)
    """
    _floating("var", input)
    taken = correction if correction is not None else float(unbiased)
    dims = _dims("var", dim, input.ndim)
    centred = input - mean(input, dims, keepdim=True)
    freedom = builtins.max(_count(input, dims) - taken, 0)
    total = sum(square(centred), dims, keepdim)
    return total / freedom


@method("std")
def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Return the standard deviation over dims: the root of `var`, with its arguments.

    >>> import clnet as cn
    >>> cn.tensor([1.0, 3.0]).std(unbiased=False)
    tensor(1.)
    """
    _floating("std", input)
    return sqrt(var(input, dim, unbiased, keepdim, correction=correction))


@method("logsumexp")
def logsumexp(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over dims, without overflow. Errors: DTypeError for integers.

    >>> import clnet as cn
    >>> cn.tensor([100.0, 100.0]).logsumexp(0)
    tensor(100.6931)
    """
    _floating("logsumexp", input)
    dims = _dims("logsumexp", dim, input.ndim)
    top = amax(input.detach(), dims, keepdim=True)
    top = where(isfinite(top), top, 0)
    total = log(sum(exp(input - top), dims, keepdim))
    return total + (top if keepdim else reshape(top, shape=total.shape))


@method("norm")
def norm(input: Tensor, p: float | str = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the vector norm over dims: (sum |x|^p)^(1/p); p may be inf, -inf, 0 or 'fro' (2).

    The gradient of a 2-norm of zeros is 0. Errors: DTypeError for integers, ValueError for p.

    >>> import clnet as cn
    >>> cn.tensor([3.0, 4.0]).norm()
    tensor(5.)
    """
    _floating("norm", input)
    if p == "fro":
        p = 2
    if isinstance(p, str):
        raise ValueError(f"norm: got p={p!r}; needs a number or 'fro'")
    if p == 2:
        squares = sum(square(input), dim, keepdim)
        some = squares > 0
        return where(some, sqrt(where(some, squares, 1)), squares)
    if p == 1:
        return sum(absolute(input), dim, keepdim)
    if p == 0:
        return sum(cast(input != 0, dtype=input.dtype), dim, keepdim)
    if math.isinf(p):
        return (amax if p > 0 else amin)(absolute(input), dim, keepdim)
    return power(sum(power(absolute(input), p), dim, keepdim), 1 / p)


# --- extremes ------------------------------------------------------------------------------------
@method("amax")
def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the largest element over dims; ties share the gradient evenly. NaN wins.

    Errors: ShapeError over no elements; IndexOutOfRange.

    >>> import clnet as cn
    >>> cn.tensor([[1, 5], [7, 3]]).amax(dim=0)
    tensor([7, 5])
    """
    return _over(reduce.amax_, input, dim, keepdim)


@method("amin")
def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return the least element over dims; ties share the gradient evenly. NaN wins.

    Errors: ShapeError over no elements; IndexOutOfRange.

    >>> import clnet as cn
    >>> cn.tensor([[1, 5], [7, 3]]).amin(dim=0)
    tensor([1, 3])
    """
    return _over(reduce.amin_, input, dim, keepdim)


def _extreme(name: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    whole, position = (amax, argmax) if name == "max" else (amin, argmin)
    if dim is None:
        return whole(input)
    if isinstance(dim, Tensor):
        return (maximum if name == "max" else minimum)(input, dim)
    axis = as_dim(name, dim, input.ndim)
    if not input.ndim:
        return Extreme(input + 0, position(input))
    indices = position(input, axis, keepdim=True)
    values = gather(input, axis, indices)
    if keepdim:
        return Extreme(values, indices)
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    return Extreme(reshape(values, shape=shape), reshape(indices, shape=shape))


@method("max")
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest element; along a dim, (values, indices); of two tensors, `maximum`.

    Of equal elements along a dim the first is chosen, and gets the gradient. Errors: as `amax`.

    >>> import clnet as cn
    >>> values, indices = cn.tensor([[1, 5], [7, 3]]).max(dim=1)
    >>> values, indices
    (tensor([5, 7]), tensor([1, 0]))
    """
    return _extreme("max", input, dim, keepdim)


@method("min")
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the least element; along a dim, (values, indices); of two tensors, `minimum`.

    Of equal elements along a dim the first is chosen, and gets the gradient. Errors: as `amin`.

    >>> import clnet as cn
    >>> cn.tensor([3.0, 1.0, 2.0]).min()
    tensor(1.)
    """
    return _extreme("min", input, dim, keepdim)


def _position(op: Op, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    dims = tuple(range(input.ndim))
    if dim is not None and input.ndim:
        dims = (as_dim(op.name, dim, input.ndim),)
    return _kept(input, op(input, dims=dims), dims, keepdim)


@method("argmax")
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return where the largest element lies along a dim, or in the flattened tensor, as int64.

    Of equal elements the first; of NaN the first NaN. Errors: ShapeError over no elements.

    >>> import clnet as cn
    >>> cn.tensor([[1, 5], [7, 3]]).argmax(dim=1)
    tensor([1, 0])
    """
    return _position(reduce.argmax_, input, dim, keepdim)


@method("argmin")
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return where the least element lies along a dim, or in the flattened tensor, as int64.

    Of equal elements the first; of NaN the first NaN. Errors: ShapeError over no elements.

    >>> import clnet as cn
    >>> cn.tensor([[1, 5], [7, 3]]).argmin()
    tensor(0)
    """
    return _position(reduce.argmin_, input, dim, keepdim)


# --- logic ---------------------------------------------------------------------------------------
@method("any")
def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return, as bool, whether an element over dims is nonzero; False over no elements.

    >>> import clnet as cn
    >>> cn.tensor([0, 2]).any()
    tensor(True)
    """
    return _over(reduce.any_, input, dim, keepdim)


@method("all")
def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Return, as bool, whether every element over dims is nonzero; True over no elements.

    >>> import clnet as cn
    >>> cn.tensor([0, 2]).all()
    tensor(False)
    """
    return _over(reduce.all_, input, dim, keepdim)


@method("count_nonzero")
def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """Return how many elements over dims are nonzero, as int64.

    >>> import clnet as cn
    >>> cn.tensor([0, 2, 3]).count_nonzero()
    tensor(2)
    """
    return sum(input if input.dtype is bool_ else input != 0, dim)
