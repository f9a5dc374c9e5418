"""What layers compute: affine maps, table look-up, dropout, normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from clnet.calls import composite
from clnet.core import Tensor
from clnet.errors import DTypeError, ShapeError
from clnet.functional.activation import wide
from clnet.functional.loss import class_numbers
from clnet.ops import elementwise as op
from clnet.ops.elementwise import where
from clnet.ops.gather import take
from clnet.ops.random import rand
from clnet.ops.sparse import sparse_rows


@composite
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias.

    input: [.., in]; weight: [out, in] or [in]; bias: [out]; result: [.., out]. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.functional.linear(cn.ones(4, 3), cn.ones(2, 3)).shape
    (4, 2)
    """
    if weight.ndim not in (1, 2) or not input.ndim or input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"linear: cannot multiply {input.node.spec} by weight {weight.node.spec}; "
            "needs [.., in] and [out, in]"
        )
    y = input @ (weight if weight.ndim == 1 else weight.transpose(0, 1))
    return y if bias is None else y + bias


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, *, sparse: bool = False
) -> Tensor:
    """Rows of a table, chosen by index.

    input: integers of any shape; weight: [rows, features]; result: [.., features]. The row
    `padding_idx` gets no gradient. With `sparse` the gradient of a leaf is a SparseTensor, the rows
    looked up alone. Errors: DTypeError unless the input is of integers; ShapeError;
    ValueError for a padding_idx outside the table.

    >>> import clnet as cn
    >>> cn.functional.embedding(cn.tensor([[0, 2], [1, 1]]), cn.ones(3, 5)).shape
    (2, 2, 5)
    """
    if input.dtype.kind != "i":
        raise DTypeError(f"embedding: got indices {input.node.spec}; needs integers")
    if weight.ndim != 2:
        raise ShapeError(f"embedding: got weight {weight.node.spec}; needs [rows, features]")
    index = input.reshape(-1)
    # What is no leaf is computed from others, for which all rows are needed.
    sparse = sparse and weight.is_leaf
    rows = sparse_rows(weight, index) if sparse else take(weight, index, dim=0)
    rows = rows.reshape(*input.shape, weight.shape[1])
    if padding_idx is None:
        return rows
    n = weight.shape[0]
    if not -n <= padding_idx < n:
        raise ValueError(
            f"embedding: got padding_idx={padding_idx} for a table of {n} rows; "
            f"needs {-n} to {n - 1}"
        )
    padding = (input == padding_idx % n).unsqueeze(-1)
    return where(padding, rows.detach(), rows)


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Return int64 [.., num_classes], 1 where the index is and 0 elsewhere.

    `num_classes=-1` takes the largest index + 1, and waits for it. An index that is not below
    `num_classes` gives a row of zeros. Errors: DTypeError unless the input is of integers.

    >>> import clnet as cn
    >>> cn.functional.one_hot(cn.tensor([1, 0]), 3).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    if input.dtype.kind != "i":
        raise DTypeError(f"one_hot: got {input.node.spec}; needs integers")
    n = num_classes
    if n == -1:
        if not input.node.spec.size:
            raise ShapeError(
                "one_hot: cannot infer the classes of an empty tensor; give num_classes"
            )
        n = int(input.max()) + 1
    if n < 1:
        raise ValueError(f"one_hot: got num_classes={n}; needs a number >= 1")
    return (input.unsqueeze(-1) == class_numbers(n, input.device)).long()


# --- dropout -------------------------------------------------------------------------------------


def _probability(name: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Set elements to 0 with probability `p` and scale the others by 1 / (1 - p).

    The input itself where not `training`. Numbers come from the generator of `cn.manual_seed`.
    Errors: ValueError for a probability outside [0, 1].

    >>> import clnet as cn
    >>> cn.functional.dropout(cn.ones(2, 3), 0.5, training=False).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    _probability("dropout", p)
    return _dropped(input, input.shape, p, training, inplace)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels: input [N, C, L] or [C, L]."""
    _probability("dropout1d", p)
    if input.ndim not in (2, 3):
        raise ShapeError(f"dropout1d: got {input.node.spec}; needs [N, C, L] or [C, L]")
    return _dropped(input, (*input.shape[:-1], 1), p, training, inplace)


def _dropped(input: Tensor, mask: Sequence[int], p: float, training: bool, inplace: bool) -> Tensor:
    if not training or p == 0:
        return input
    if p == 1:
        result = input * 0
    else:
        kept = rand(*mask, device=input.device) >= p
        result = where(kept, input * (1 / (1 - p)), 0.0)
    return input.assign(result) if inplace else result


# --- normalisation -------------------------------------------------------------------------------


@composite
def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Bring the last dimensions to mean 0 and variance 1, then scale and shift (Ba et al., 2016).

    weight, bias: of `normalized_shape`, which are the input's last sizes. 16-bit floats are
    computed in float32. Errors: ShapeError.

    >>> import clnet as cn
    >>> cn.functional.layer_norm(cn.ones(2, 3), 3).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    n = len(shape)
    if not n or input.shape[-n:] != shape:
        raise ShapeError(
            f"layer_norm: cannot normalise {input.node.spec} over {list(shape)}; "
            "needs its last sizes"
        )
    dims = tuple(range(-n, 0))
    x = wide(input)
    x = x - x.mean(dims, keepdim=True)
    y = x * op.rsqrt(op.square(x).mean(dims, keepdim=True) + eps)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y.to(input.dtype)


@composite
def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root of the mean square of the last dimensions (Zhang and Sennrich, 2019).

    `eps` defaults to the distance from 1 to the next number of the dtype computed in.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    n = len(shape)
    if not n or input.shape[-n:] != shape:
        raise ShapeError(
            f"rms_norm: cannot normalise {input.node.spec} over {list(shape)}; needs its last sizes"
        )
    x = wide(input)
    if eps is None:
        eps = 2.0**-52 if x.dtype.name == "float64" else 2.0**-23
    y = x * op.rsqrt(op.square(x).mean(tuple(range(-n, 0)), keepdim=True) + eps)
    return (y if weight is None else y * weight).to(input.dtype)


def _norm(x: Tensor, p: float, dim: int) -> Tensor:
    """Return the p-norm along `dim`, whose gradient at 0 is 0."""
    if p == 2:
        squares = op.square(x).sum(dim, keepdim=True)
        return where(squares > 0, op.sqrt(where(squares > 0, squares, 1.0)), 0.0)
    if p == 1:
        return op.abs(x).sum(dim, keepdim=True)
    if p == float("inf"):
        return op.abs(x).amax(dim, keepdim=True)
    size = op.abs(x)
    powers = where(size > 0, op.pow(where(size > 0, size, 1.0), p), 0.0).sum(dim, keepdim=True)
    return where(powers > 0, op.pow(where(powers > 0, powers, 1.0), 1 / p), 0.0)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x divided by its p-norm along `dim`, or by `eps` where that is larger.

    >>> import clnet as cn
    >>> cn.functional.normalize(cn.tensor([[3.0, 4.0]])).shape
    (1, 2)
    """
    norm = _norm(input, p, dim)
    return input / where(norm > eps, norm, eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between vectors along `dim`, whose lengths count as at least `eps`."""
    a, b = normalize(x1, 2.0, dim, eps), normalize(x2, 2.0, dim, eps)
    return (a * b).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """p-norm of x1 - x2 + eps along the last dimension."""
    d = _norm(x1 - x2 + eps, p, -1)
    return d if keepdim else d.squeeze(-1)
