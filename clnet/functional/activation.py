"""Activations and softmax: compositions of elementwise ops and reductions, so they fuse.

Branches are chosen with `where`, and what a branch must not see is replaced before it is computed:
the gradient of the branch not taken would otherwise be 0 * inf.
"""

from __future__ import annotations

import math

from clnet.calls import composite
from clnet.core import Tensor, method
from clnet.dtypes import DType, as_dtype, bfloat16, float16, float32
from clnet.errors import IndexOutOfRange, ShapeError
from clnet.ops import elementwise as op
from clnet.ops.elementwise import where


def _kept(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return input.assign(result) if inplace else result


def sigmoid(input: Tensor) -> Tensor:
    """Logistic function 1 / (1 + e^-x), elementwise."""
    return op.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent, elementwise."""
    return op.tanh(input)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), elementwise; NaN stays NaN, the gradient at 0 is 0."""
    return _kept(input, op.relu(input), inplace)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Limit to [min_val, max_val]; the gradient at the limits is 0.

    >>> import clnet as cn
    >>> cn.functional.hardtanh(cn.tensor([-3.0, 0.5, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    inner = where(input >= max_val, max_val, input)
    return _kept(input, where(input <= min_val, min_val, inner), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6), elementwise."""
    return hardtanh(input, 0.0, 6.0, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    return _kept(input, where(input > 0, input, input * negative_slope), inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (e^x - 1) (Clevert, Unterthiner and Hochreiter, 2015)."""
    negative = op.expm1(where(input > 0, 0.0, input)) * alpha
    return _kept(input, where(input > 0, input, negative), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Scaled elu whose fixed point has mean 0 and variance 1 (Klambauer et al., 2017)."""
    scaled = elu(input, 1.6732632423543772848170429916717) * 1.0507009873554804934193349852946
    return _kept(input, scaled, inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (e^(x / alpha) - 1): elu with a continuous derivative."""
    negative = op.expm1(where(input > 0, 0.0, input) / alpha) * alpha
    return _kept(input, where(input > 0, input, negative), inplace)


@composite
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function at x (Hendrycks and Gimpel, 2016).

    `approximate` is 'none' (with erf) or 'tanh'. Errors: ValueError for any other.

    >>> import clnet as cn
    >>> cn.functional.gelu(cn.zeros(2, 3), approximate="tanh").shape
    (2, 3)
    """
    if approximate == "none":
        return input * (op.erf(input * math.sqrt(0.5)) + 1) * 0.5
    if approximate != "tanh":
        raise ValueError(f"gelu: got approximate={approximate!r}; needs 'none' or 'tanh'")
    inner = (input + input * input * input * 0.044715) * math.sqrt(2 / math.pi)
    return input * (op.tanh(inner) + 1) * 0.5


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), also called swish."""
    return _kept(input, input * op.sigmoid(input), inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    return _kept(input, input * op.tanh(op.softplus(input)), inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta; x itself where beta * x > threshold."""
    scaled = input * beta
    return where(scaled > threshold, input, op.softplus(scaled) / beta)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|), elementwise."""
    return input / (op.abs(input) + 1)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without underflow."""
    return -op.softplus(-input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """The line (x + 3) / 6, limited to [0, 1]."""
    return _kept(input, hardtanh(input + 3, 0.0, 6.0) / 6, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x) (Howard et al., 2019)."""
    return _kept(input, input * hardsigmoid(input), inplace)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """First half of `dim` times the sigmoid of the second half (Dauphin et al., 2017).

    Errors: ShapeError where the size of `dim` is odd.

    >>> import clnet as cn
    >>> cn.functional.glu(cn.zeros(2, 6)).shape
    (2, 3)
    """
    n = input.shape[_axis("glu", input, dim)]
    if n % 2:
        raise ShapeError(
            f"glu: got {input.node.spec}, dimension {dim}; needs an even size, not {n}"
        )
    a, b = input.split(n // 2, dim)
    return a * op.sigmoid(b)


# --- softmax -------------------------------------------------------------------------------------


def _axis(name: str, input: Tensor, dim: int) -> int:
    """Return `dim` counted from the first dimension; a 0-d tensor counts as having one."""
    n = max(input.ndim, 1)
    if not -n <= dim < n:
        raise IndexOutOfRange(
            f"{name}: dimension {dim} of {input.node.spec}; needs {-n} to {n - 1}"
        )
    return dim % n


def wide(input: Tensor) -> Tensor:
    """Return 16-bit floats as float32, for sums that would lose their small terms; others as is."""
    return input.to(float32) if input.dtype in (float16, bfloat16) else input


def shifted(name: str, input: Tensor, dim: int) -> Tensor:
    """Return x minus its largest value along `dim`: the shift by which exp cannot overflow.

    The shift cancels in every softmax, so no gradient flows through it.
    """
    if input.dtype.kind != "f":
        input = input.to(float32)
    input = wide(input)
    _axis(name, input, dim)
    if input.ndim == 0 or input.shape[dim] == 0:
        return input - input.detach()
    return input - input.detach().amax(dim, keepdim=True)


def _result(input: Tensor, dtype: DType | None) -> DType:
    if dtype is not None:
        return as_dtype(dtype)
    return input.dtype if input.dtype.kind == "f" else float32


@method("softmax")
@composite
def softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """e^x divided by its sum along `dim`; 16-bit floats are computed in float32.

    `dtype`: convert the input to it first. Errors: IndexOutOfRange for a dimension that is not
    there.

    >>> import clnet as cn
    >>> cn.tensor([[0.0, 0.0]]).softmax(dim=1).tolist()
    [[0.5, 0.5]]
    """
    result = _result(input, dtype)
    e = op.exp(shifted("softmax", input if dtype is None else input.to(result), dim))
    return (e / (e.sum(dim, keepdim=True) if e.ndim else e)).to(result)


@method("log_softmax")
@composite
def log_softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along `dim`, without underflow; 16-bit floats are computed in float32.

    `dtype`: convert the input to it first. Errors: IndexOutOfRange for a dimension that is not
    there.

    >>> import clnet as cn
    >>> cn.zeros(4, 3).log_softmax(dim=1).shape
    (4, 3)
    """
    result = _result(input, dtype)
    z = shifted("log_softmax", input if dtype is None else input.to(result), dim)
    e = op.exp(z)
    return (z - op.log(e.sum(dim, keepdim=True) if e.ndim else e)).to(result)


def softmin(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """softmax(-x) along `dim`."""
    return softmax(-input, dim, dtype)
