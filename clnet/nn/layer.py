"""Layers with and without parameters, but for recurrent ones: see `clnet.nn.recurrent`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from clnet import functional as F
from clnet.core import Tensor
from clnet.dtypes import float32
from clnet.errors import ShapeError
from clnet.modes import no_grad
from clnet.nn import init
from clnet.nn.module import Module
from clnet.nn.parameter import Parameter
from clnet.ops.create import empty


def parameter(*shape: int, device: Any = None, dtype: Any = None) -> Parameter:
    """Return a parameter whose values are still to be set; float32 unless `dtype` is given."""
    return Parameter(empty(shape, device=device, dtype=float32 if dtype is None else dtype))


class Identity(Module):
    """Returns its input; takes and ignores any arguments when made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return the input."""
        return input


class Linear(Module):
    """y = x @ weight.T + bias.

    input: [.., in_features]; result: [.., out_features]; weight: [out_features, in_features];
    bias: [out_features]. Both start uniform in +-1 / sqrt(in_features).

    >>> import clnet as cn
    >>> cn.nn.Linear(3, 2)(cn.ones(5, 3)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = parameter(out_features, in_features, device=device, dtype=dtype)
        self.register_parameter(
            "bias", parameter(out_features, device=device, dtype=dtype) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Return the affine map of the input."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """y_k = x1 . weight_k . x2 + bias_k.

    input1: [.., in1_features]; input2: [.., in2_features]; weight: [out, in1, in2].
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        self.weight = parameter(*shape, device=device, dtype=dtype)
        self.register_parameter(
            "bias", parameter(out_features, device=device, dtype=dtype) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return the bilinear map of the inputs."""
        out, n1, n2 = self.weight.shape
        if input1.shape != (*input2.shape[:-1], n1) or input2.shape[-1:] != (n2,):
            raise ShapeError(
                f"Bilinear: got {input1.node.spec} and {input2.node.spec}; "
                f"needs [.., {n1}] and [.., {n2}]"
            )
        # One product over in1, then the sum over in2.
        columns = self.weight.permute(1, 0, 2).reshape(n1, out * n2)
        rows = (input1 @ columns).reshape(*input1.shape[:-1], out, n2)
        y = (rows * input2.unsqueeze(-2)).sum(-1)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Embedding(Module):
    """A table of vectors, looked up by index.

    input: integers of any shape; result: [.., embedding_dim]; weight: [num_embeddings,
    embedding_dim], standard normal at first. The row `padding_idx` starts at 0 and gets no
    gradient. With `sparse` the weight's gradient holds the rows looked up alone (`indices()`,
    `values()`), and is for `optim.SparseAdam`, `SGD` and `Adagrad`.

    >>> import clnet as cn
    >>> cn.nn.Embedding(10, 4)(cn.tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        sparse: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.sparse = sparse
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(
                    f"Embedding: got padding_idx={padding_idx}; needs {-num_embeddings} to "
                    f"{num_embeddings - 1}, a row of the table"
                )
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        self.weight = parameter(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        sparse: bool = False,
    ) -> Embedding:
        """Return a layer with the given table, which is not trained if `freeze`."""
        if embeddings.ndim != 2:
            raise ShapeError(f"Embedding: got {embeddings.node.spec}; needs [rows, features]")
        rows, features = embeddings.shape
        layer = cls(rows, features, padding_idx, sparse, embeddings.device, embeddings.dtype)
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows that the input names."""
        return F.embedding(input, self.weight, self.padding_idx, sparse=self.sparse)

    def extra_repr(self) -> str:
        """Return the sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        sparse = ", sparse=True" if self.sparse else ""
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}{sparse}"


class Dropout(Module):
    """Sets elements to 0 with probability `p` in training, and scales the others by 1 / (1 - p).

    Errors: ValueError for a probability outside [0, 1].

    >>> import clnet as cn
    >>> cn.nn.Dropout(0.5).eval()(cn.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with elements dropped, while training."""
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Drops whole channels of [N, C, L] or [C, L]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with channels dropped, while training."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Flatten(Module):
    """Merges the dimensions `start_dim` to `end_dim`, by default all but the first.

    >>> import clnet as cn
    >>> cn.nn.Flatten()(cn.ones(2, 3, 4)).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with those dimensions merged."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the dimensions."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits dimension `dim` into the sizes `unflattened_size`, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with that dimension split."""
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """Return the dimension and its sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class LayerNorm(Module):
    """Brings the last dimensions to mean 0 and variance 1, then scales and shifts.

    weight (1 at first) and bias (0 at first): of `normalized_shape`.

    >>> import clnet as cn
    >>> cn.nn.LayerNorm(4)(cn.ones(2, 4)).shape
    (2, 4)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape = tuple(shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        for name, wanted in (("weight", True), ("bias", bias)):
            made = parameter(*self.normalized_shape, device=device, dtype=dtype)
            self.register_parameter(name, made if wanted and elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to 1 and the shift to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Divides by the root of the mean square of the last dimensions, then scales.

    weight (1 at first): of `normalized_shape`.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape = tuple(shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        made = parameter(*self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", made if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )
