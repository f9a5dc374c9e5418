"""`x[...]` and `x[...] = value`, with NumPy's rules: slices, None, ..., integers, arrays, masks.

Slices, integers, None and ... make a view. Integer arrays (lists, NumPy arrays, tensors) and bool
masks make a copy: the dimensions that they index are merged into one, along which a single flat
index is then taken (or written). Several arrays broadcast against each other; their dimensions come
first in the result unless all arrays stand side by side.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from clnet.binding import broadcast_shapes
from clnet.core import Tensor, method
from clnet.dtypes import int64
from clnet.errors import DTypeError, IndexOutOfRange, ShapeError
from clnet.ops import views
from clnet.ops.convert import host_array, host_values
from clnet.ops.create import filled, tensor
from clnet.ops.dims import as_dim
from clnet.ops.elementwise import cast, where
from clnet.ops.join import cat
from clnet.ops.operators import copy_
from clnet.records import Spec, row_major

_Array = np.ndarray | Tensor


@dataclass
class _Slice:
    """Elements start, start + step, ... of a dimension, `size` of them."""

    start: int
    step: int
    size: int


# What an index does with the tensor's dimensions in turn: cut one; take one element of one (int);
# take elements of one by an array; or add one (None).
_Item = _Slice | int | _Array | None


# --- from keys to items --------------------------------------------------------------------------
def _check_mask(mask: _Array, shape: Sequence[int], given: object) -> None:
    covered = list(shape[: mask.ndim])
    if list(mask.shape) != covered:
        raise IndexOutOfRange(
            f"index: a mask of shape {list(mask.shape)} for {given}; needs {covered}"
        )


def _masked(mask: _Array, shape: Sequence[int], given: object) -> list[_Item]:
    """Return a bool mask as the integer arrays of its true elements; needs its values."""
    _check_mask(mask, shape, given)
    values = host_array(mask) if isinstance(mask, Tensor) else mask
    return list(values.nonzero())


def _as_array(part: Any) -> _Array | None:
    """Return a part of a key as an array, or None if it is something else."""
    if isinstance(part, Tensor):
        return part
    if isinstance(part, (list, tuple, np.ndarray)):
        array = np.asarray(part)
        return array.astype(np.int64) if array.size == 0 and array.dtype.kind == "f" else array
    return np.asarray(part) if isinstance(part, (bool, np.bool_)) else None


def _width(part: Any) -> int:
    """Return how many dimensions a part of a key takes up."""
    if part is None or part is Ellipsis:
        return 0
    array = _as_array(part)
    return array.ndim if array is not None and _is_mask(array) else 1


def _is_mask(array: _Array) -> bool:
    kind = array.dtype.kind
    if kind not in "biu":
        raise DTypeError(f"index: an array of {array.dtype}; needs integers or bools")
    return kind == "b"


def _parts(ndim: int, key: Any, given: object) -> list[Any]:
    """Return the parts of a key, with the slices that ... and the end of the key stand for."""
    parts = list(key) if isinstance(key, tuple) else [key]
    ellipses = [i for i, part in enumerate(parts) if part is Ellipsis]
    used = sum(_width(part) for part in parts)
    if used > ndim or len(ellipses) > 1:
        raise IndexOutOfRange(
            f"index: {used} indices for {given}; needs at most {ndim}, and at most one ..."
        )
    at = ellipses[0] if ellipses else len(parts)
    parts[at : at + len(ellipses)] = [slice(None)] * (ndim - used)
    return parts


def _items(input: Tensor, key: Any) -> tuple[Tensor, list[_Item]]:
    """Return what a key does, for every dimension of a tensor. Errors: IndexOutOfRange, DTypeError.

    The tensor has new dimensions of size 1 where the key has masks without dimensions.
    """
    given = input.node.spec
    items: list[_Item] = []
    dim = 0
    for part in _parts(input.ndim, key, given):
        array = _as_array(part)
        if array is not None and array.ndim == 0 and _is_mask(array):
            input, part = input.unsqueeze(dim), array.reshape(1)
        items += _one(input.shape, dim, part, given)
        dim += _width(part)
    return input, items


def _one(shape: tuple[int, ...], dim: int, part: Any, given: object) -> list[_Item]:
    if part is None:
        return [None]
    array = _as_array(part)
    if array is not None:
        if _is_mask(array):
            return _masked(array, shape[dim:], given)
        return [_checked(array, shape[dim], dim, given)]
    n = shape[dim]
    if isinstance(part, slice):
        start, stop, step = part.indices(n)
        size = len(range(start, stop, step))
        return [_Slice(start, step, size) if size else _Slice(0, 1, 0)]
    try:
        index = operator.index(part)
    except TypeError:
        raise DTypeError(
            f"index: a {type(part).__name__}; needs integers, slices, None, ..., arrays or lists "
            "of integers, or bool masks"
        ) from None
    if not -n <= index < n:
        raise IndexOutOfRange(
            f"index: {index} in dimension {dim} of {given}; needs {-n} to {n - 1}"
            if n
            else f"index: {index} in dimension {dim} of {given}, which has no elements"
        )
    return [index % n]


def _checked(array: _Array, n: int, dim: int, given: object) -> _Array:
    """Check indices that are on the host; those on the device are not waited for."""
    if isinstance(array, np.ndarray) and array.size:
        low, high = int(array.min()), int(array.max())
        if low < -n or high >= n:
            raise IndexOutOfRange(
                f"index: {low if low < -n else high} in dimension {dim} of {given}; "
                f"needs {-n} to {n - 1}"
            )
    return array


# --- views ---------------------------------------------------------------------------------------
class _Cut(NamedTuple):
    """A view: attributes of a slice (None: all of it), and the shape that it gets then."""

    attrs: dict[str, tuple[int, ...]] | None
    shape: tuple[int, ...]

    def of(self, input: Tensor) -> Tensor:
        """Return the view of a tensor."""
        result = input if self.attrs is None else views.slice_(input, **self.attrs)
        if self.shape != result.shape:
            result = views.reshape(result, shape=self.shape)
        # `x[:]` is a tensor of its own, on the same memory.
        return views.alias(input) if result is input else result


def _cut(whole: tuple[int, ...], items: Sequence[_Item]) -> _Cut:
    """Apply slices, integers and new dimensions; dimensions with arrays are kept whole."""
    starts, steps, sizes, shape = [], [], [], []
    dim = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        cut = item if isinstance(item, _Slice) else _Slice(0, 1, whole[dim])
        if isinstance(item, int):
            cut = _Slice(item, 1, 1)
        else:
            shape.append(cut.size)
        starts.append(cut.start)
        steps.append(cut.step)
        sizes.append(cut.size)
        dim += 1
    attrs = {"starts": tuple(starts), "steps": tuple(steps), "sizes": tuple(sizes)}
    all_of_it = tuple(sizes) == whole and all(step == 1 for step in steps)
    return _Cut(None if all_of_it else attrs, tuple(shape))


def _plain(key: Any) -> tuple[Any, ...] | None:
    """Return a key of integers, slices, None and ... such that it can be looked up, or None."""
    parts: list[Any] = []
    for part in key if type(key) is tuple else (key,):
        if type(part) is slice:
            bounds = (part.start, part.stop, part.step)
            if not all(bound is None or type(bound) is int for bound in bounds):
                return None
            parts.append(bounds)
        elif type(part) is int or part is None or part is Ellipsis:
            parts.append(part)
        else:
            return None
    return tuple(parts)


@functools.lru_cache(maxsize=4096)
def _plain_cut(given: Spec, parts: tuple[Any, ...]) -> _Cut:
    """Return the view that a key from `_plain` means. Errors: IndexOutOfRange."""
    items: list[_Item] = []
    dim = 0
    key = tuple([slice(*part) if type(part) is tuple else part for part in parts])
    for part in _parts(given.ndim, key, given):
        items += _one(given.shape, dim, part, given)
        dim += part is not None
    return _cut(given.shape, items)


# --- arrays --------------------------------------------------------------------------------------
@dataclass
class _Located:
    """Where arrays point: rows `index` of dimension `dim` of a view, in the order of a shape."""

    view: Tensor
    dim: int
    index: _Array
    shape: tuple[int, ...]

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of what is read or written."""
        sizes = self.view.shape
        return (*sizes[: self.dim], *self.shape, *sizes[self.dim + 1 :])


def _flat_index(arrays: Sequence[_Array], sizes: Sequence[int], device: Any) -> _Array:
    """Return the positions, in row-major order, of the elements that arrays of indices name."""
    strides = row_major(sizes)
    if all(isinstance(a, np.ndarray) for a in arrays):
        wrapped = [np.where(a < 0, a + n, a) for a, n in zip(arrays, sizes, strict=True)]
        return np.asarray(sum(a * s for a, s in zip(wrapped, strides, strict=True)), np.int64)
    tensors = [
        cast(a, dtype=int64) if isinstance(a, Tensor) else tensor(a, int64, device) for a in arrays
    ]
    if len(tensors) == 1:
        return tensors[0]
    flat: Any = 0
    inside: Any = True
    for a, n, stride in zip(tensors, sizes, strides, strict=True):
        flat = where(a < 0, a + n, a) * stride + flat
        inside = (a >= -n) & (a < n) & inside
    # An index outside its dimension must not fall on an element of another row.
    return where(inside, flat, prod(sizes))


def _locate(input: Tensor, items: list[_Item]) -> _Located:
    # An integer beside arrays counts as an array, as in NumPy, when it is decided whether they
    # stand side by side.
    items = [np.asarray(i) if isinstance(i, int) else i for i in items]
    places = [i for i, item in enumerate(items) if isinstance(item, (np.ndarray, Tensor))]
    arrays = [items[i] for i in places]
    shape = broadcast_shapes("index", *(tuple(a.shape) for a in arrays))  # type: ignore[union-attr]
    view = _cut(input.shape, items).of(input)
    sizes = [view.shape[i] for i in places]
    dim = places[0]
    if places != list(range(dim, dim + len(places))):
        rest = [i for i in range(view.ndim) if i not in places]
        view = views.permute(view, dims=(*places, *rest))
        dim = 0
    if len(places) > 1:
        kept = (*view.shape[:dim], prod(sizes), *view.shape[dim + len(places) :])
        view = views.reshape(view, shape=kept)
    index = _flat_index(arrays, sizes, input.device)  # type: ignore[arg-type]
    return _Located(view, dim, index, shape)


def _flattened(located: _Located, device: Any) -> Tensor:
    """Return the flat index as a vector on the device."""
    index = located.index
    count = prod(located.shape)
    if isinstance(index, np.ndarray):
        return tensor(np.broadcast_to(index, located.shape).reshape(count), int64, device)
    return views.reshape(views.expand(index, shape=located.shape), shape=(count,))


def _writers(located: _Located, device: Any) -> Tensor:
    """Return for each row of the dimension the position of its last writer, -1 if there is none."""
    rows = located.view.shape[located.dim]
    if isinstance(located.index, np.ndarray):
        index = np.broadcast_to(located.index, located.shape).reshape(-1)
        host = np.full(rows, -1, np.int64)
        host[index] = np.arange(index.size)
        return tensor(host, int64, device)
    flat = _flattened(located, device)
    flat = where(flat < 0, flat + rows, flat)
    order = flat.argsort(stable=True)
    ordered = flat.index_select(0, order)
    # Of equal neighbours the last one writes: the sort is stable.
    last = cat([ordered[1:] != ordered[:-1], tensor([True], device=device)])
    none = filled("index", (rows,), 0, int64, located.view.node.device)
    return none.index_add(0, ordered, where(last, order + 1, 0)) - 1


# --- x[key], x[key] = value ----------------------------------------------------------------------
def _has_arrays(items: Sequence[_Item]) -> bool:
    return any(isinstance(item, (np.ndarray, Tensor)) for item in items)


@method("__getitem__")
def _get(input: Tensor, key: Any) -> Tensor:
    """Return elements: a view for slices and integers, a copy for arrays and masks.

    Indices on the host are checked at once (IndexOutOfRange); those in tensors are not waited for,
    and outside the dimension read what `index_select` reads there. A bool mask is waited for.

    >>> import clnet as cn
    >>> x = cn.arange(12).reshape(3, 4)
    >>> x[1, ::2], x[[0, 2], [1, -1]]
    (tensor([4, 6]), tensor([ 1, 11]))
    """
    plain = _plain(key)
    if plain is not None:
        return _plain_cut(input.node.spec, plain).of(input)
    input, items = _items(input, key)
    if not _has_arrays(items):
        return _cut(input.shape, items).of(input)
    located = _locate(input, items)
    taken = located.view.index_select(located.dim, _flattened(located, input.device))
    return views.reshape(taken, shape=located.result_shape)


@method("__setitem__")
def _set(input: Tensor, key: Any, value: Any) -> None:
    """Write a value, cast and broadcast, to elements; of several writes to one the last counts.

    Indices in tensors that lie outside the dimension write nothing.

    >>> import clnet as cn
    >>> x = cn.zeros(4)
    >>> x[1:3] = 5
    >>> x[[0, -1]] = cn.tensor([1.0, 2.0])
    >>> x
    tensor([1., 5., 5., 2.])
    """
    if isinstance(value, (np.ndarray, list, tuple)):
        value = tensor(value, device=input.device)
    if isinstance(key, Tensor) and _is_mask(key) and not getattr(value, "shape", ()):
        _fill_mask(input, key, value)
        return
    input, items = _items(input, key)
    if not _has_arrays(items):
        target = _cut(input.shape, items).of(input)
        copy_(target, _fitted(value, target.shape))
        return
    located = _locate(input, items)
    if not prod(located.result_shape):
        return
    view, dim = located.view, located.dim
    if not isinstance(value, Tensor):
        value = filled("index", (), value, input.dtype, input.node.device)
    fitted = _fitted(value, located.result_shape).to(input.dtype, device=input.device)
    count = prod(located.shape)
    shape = (*view.shape[:dim], count, *view.shape[dim + 1 :])
    source = views.reshape(views.expand(fitted, shape=located.result_shape), shape=shape)
    writers = _writers(located, input.device)
    column = views.reshape(writers, shape=(view.shape[dim], *(1,) * (view.ndim - dim - 1)))
    taken = source.index_select(dim, where(writers < 0, 0, writers))
    view.assign(where(column >= 0, taken, view))


def _fitted(value: Any, shape: tuple[int, ...]) -> Any:
    """Return a value without the leading dimensions of size 1 that it has beyond the shape."""
    extra = value.ndim - len(shape) if isinstance(value, Tensor) else 0
    if extra > 0 and all(n == 1 for n in value.shape[:extra]):
        return views.reshape(value, shape=value.shape[extra:])
    if extra > 0:
        raise ShapeError(
            f"index: cannot write {value.node.spec} to elements of shape {list(shape)}"
        )
    return value


def _fill_mask(input: Tensor, mask: Tensor, value: Any) -> None:
    """Write one number where a mask holds, without waiting for the mask."""
    _check_mask(mask, input.shape, input.node.spec)
    if not isinstance(value, Tensor):
        value = filled("index", (), value, input.dtype, input.node.device)
    wide = views.reshape(mask, shape=(*mask.shape, *(1,) * (input.ndim - mask.ndim)))
    fitted = value.to(input.dtype, device=input.device)
    input.assign(where(wide, fitted, input))


# --- positions -----------------------------------------------------------------------------------
@method("nonzero")
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Tensor | tuple[Tensor, ...]:
    """Return the indices of the elements that are not zero, a row each; waits for the device.

    int64, [count, ndim]; with as_tuple a vector for each dimension, which indexes the elements.

    >>> import clnet as cn
    >>> cn.tensor([0, 3, 0, 5]).nonzero()
    tensor([[1],
            [3]])
    """
    positions = np.atleast_1d(host_values(input)).nonzero()
    device = input.device
    if as_tuple:
        return tuple(tensor(p, int64, device) for p in positions)
    rows = np.stack(positions, axis=1)
    return tensor(rows if input.ndim else rows[:, :0], int64, device)


@method("masked_select")
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Return the elements where a bool mask holds, as a vector; waits for the mask."""
    shape = broadcast_shapes("masked_select", input.shape, mask.shape)
    return _get(views.expand(input, shape=shape), views.expand(mask, shape=shape))


@method("index_fill")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """Return the tensor with the rows that index names, along a dimension, filled with a number."""
    result = input.clone()
    at = as_dim("index_fill", dim, input.ndim)
    _set(result, (*[slice(None)] * at, index), value)
    return result
