"""Gradients that are zero but for some rows, as those of embeddings, and the look-up that has them.

Such a gradient is the rows that were looked up, each with the cotangent of that look-up; a row that
was looked up twice is in it twice. It is a tensor: whoever needs all of its rows gets them.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any, cast

from clnet.core import Node, Tensor, record
from clnet.dtypes import DType
from clnet.errors import GradientError
from clnet.modes import modes
from clnet.ops.elementwise import where
from clnet.ops.index import segment_sum, take_
from clnet.ops.join import cat
from clnet.ops.scan import cumsum
from clnet.ops.sort import argsort
from clnet.records import OPS, Spec


class SparseTensor(Tensor):
    """A tensor [rows, ..] that is zero but for some rows: PyTorch's sparse gradient of embeddings.

    `indices()` are the rows, int [1, n], `values()` what is added to each, [n, ..]; a row may stand
    there several times. Every op takes it as the dense tensor that it is equal to, which is
    computed when one is applied.

    >>> import clnet as cn
    >>> w = cn.zeros(5, 2, requires_grad=True)
    >>> cn.functional.embedding(cn.tensor([1, 3, 1]), w, sparse=True).sum().backward()
    >>> w.grad.indices().tolist(), w.grad.to_dense()[:, 0].tolist()
    ([[1, 3, 1]], [0.0, 2.0, 0.0, 1.0, 0.0])
    """

    __slots__ = ("_dense", "_index", "_rows", "_spec")
    is_sparse = True

    def __init__(self, index: Tensor, values: Tensor, rows: int) -> None:
        self._hooks = self._parent = self._root = self.grad = None
        self._seen = self._version = 0
        self._index, self._rows = index, values
        self._spec = Spec((rows, *values.shape[1:]), values.dtype)
        self._dense: Node | None = None

    @property
    def _node(self) -> Node:  # type: ignore[override]
        if self._dense is None:
            given = (self._rows.node, self._index.node)
            self._dense = record(segment_sum, given, {"dim": 0, "rows": self._spec.shape[0]})
            self._dense.owner = weakref.ref(self)
        return self._dense

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return self._spec.shape

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self._spec.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._spec.shape)

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        """The rows' numbers [n], and their values [n, ..]."""
        return self._index, self._rows

    def indices(self) -> Tensor:
        """Return the rows' numbers, [1, n], in the order of the look-ups."""
        return self._index.unsqueeze(0)

    def values(self) -> Tensor:
        """Return what is added to the rows, [n, ..]."""
        return self._rows

    def to_dense(self) -> Tensor:
        """Return the dense tensor that this one is equal to."""
        return Tensor(self._node, view=False)

    def coalesced(self) -> tuple[Tensor, Tensor]:
        """Return distinct rows' numbers [n], and the sums of their values [n, ..].

        Places that are left over have the number of rows of the whole tensor, which is none's.
        """
        index, values = self.parts
        count = index.shape[0]
        if not count:
            return index, values
        order = argsort(index)
        ordered = take_(index, order, dim=0)
        first = ordered != cat([ordered[:1] - 1, ordered[:-1]], 0)
        place = cumsum(first, 0) - 1
        sums = segment_sum(take_(values, order, dim=0), place, dim=0, rows=count)
        number = segment_sum(where(first, ordered + 1, 0), place, dim=0, rows=count)
        return where(number > 0, number - 1, self.shape[0]), sums

    def scale_(self, factor: Tensor) -> SparseTensor:
        """Multiply by a number, in place."""
        self._rows, self._dense = (self._rows * factor).to(self.dtype), None
        return self

    def assign(self, value: Tensor) -> Tensor:
        """Refuse: only `scale_` changes a sparse gradient."""
        raise GradientError(
            f"in-place: a sparse gradient {self._spec} can only be scaled; needs x.to_dense()"
        )


def parts_of(g: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors that a gradient consists of: two of a sparse one, or itself."""
    return g.parts if isinstance(g, SparseTensor) else (g,)


def rows_of(g: Tensor) -> int | None:
    """Return the number of rows of a sparse gradient, or None of another."""
    return g.shape[0] if isinstance(g, SparseTensor) else None


def from_parts(rows: int | None, parts: Iterator[Tensor]) -> Tensor:
    """Return a gradient whose `rows_of` is known from the next tensors of an iterator."""
    first = next(parts)
    return first if rows is None else SparseTensor(first, next(parts), rows)


def sum_of_rows(parts: Sequence[SparseTensor]) -> SparseTensor:
    """Return the sum of sparse tensors of one shape: all of their rows."""
    indices, values = zip(*(p.parts for p in parts), strict=True)
    return SparseTensor(cat(list(indices), 0), cat(list(values), 0), parts[0].shape[0])


# --- look-up -------------------------------------------------------------------------------------
class SparseRows:
    """Whose gradient the rows of a table are: what `backward` finds at the end of a look-up.

    It stands in the place of the tensor that holds a leaf; see `clnet.core.Node`.
    """

    _node = None

    def __init__(self, table: Tensor, index: Tensor) -> None:
        self.table = weakref.ref(table)
        self._index, self._rows = index, table.shape[0]

    def __call__(self) -> SparseRows:
        return self

    def gradient(self, d: Tensor) -> Any:
        """Return the table's gradient, given that of the rows, after the table's hooks."""
        index = where(self._index < 0, self._index + self._rows, self._index)
        found: Tensor = SparseTensor(index, d, self._rows)
        table = self.table()
        for hook in (table.node.hooks if table is not None else None) or ():
            replaced = hook(found)
            found = found if replaced is None else replaced
        return found


def sparse_rows(table: Tensor, index: Tensor) -> Tensor:
    """Return rows of a leaf [rows, ..] by an index [n], which give it a SparseTensor as gradient.

    Gradients end at the rows, so that whatever was recorded above them is like any other graph.
    """
    rows = Tensor(record(OPS["alias"], (take_(table.detach(), index, dim=0).node,), {}), view=False)
    if modes.grad and table.requires_grad:
        rows.requires_grad_()
        rows.node.owner = cast(Any, SparseRows(table, index))
    return rows
