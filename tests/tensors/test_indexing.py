"""x[key] and x[key] = value against NumPy, on the host's indices and on the device's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import clnet as cn

A = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
_all = slice(None)
_i, _j, _k = [1, 0, 1], np.array([[0], [2]]), np.array([0, -1, 2])

BASIC: list[Any] = [
    0,
    (1, 2),
    (_all, -1),
    (..., 1),
    (None, 0),
    (slice(None, None, -1), slice(0, 3, 2)),
    (..., None),
    (slice(5, 1),),
    (0, _all, slice(3, None, -2)),
    (1, 2, 3, 4),
    (),
    ...,
    np.int32(1),
    (_all, slice(-2, None), ..., 0),
]
ARRAYS: list[Any] = [
    [0, 1],
    (_all, [0, 2, -1]),
    (0, [1, 2]),
    (_i, _k),
    (_all, _j, _k),
    (_i, _all, _k),
    (_j - 1, ..., _k),
    ([0], None, _all, [1]),
    (0, _all, [1, 2]),
    (_i, 1, _k),
    (_all, _j, slice(1, 3), _k),
    (..., np.array(2)),
    (_all, np.zeros((0, 2), int)),
]
MASKS: list[Any] = [
    A > 50,
    A[:, 0, 0, 0] > 10,
    (_all, _all, np.arange(4) % 2 == 0),
    (0, A[0, :, 0, 0] > 10, ..., [1, 0]),
    np.zeros(2, bool),
]


def on_device(key: Any) -> Any:
    """Return a key with its arrays as tensors."""
    if isinstance(key, tuple):
        return tuple(on_device(part) for part in key)
    return cn.tensor(key) if isinstance(key, (list, np.ndarray)) else key


def test_read(same) -> None:
    x = cn.tensor(A)
    keys = BASIC + ARRAYS + MASKS
    same({str(k): (x[k], A[k]) for k in keys})
    same({str(k): (x[on_device(k)], A[k]) for k in ARRAYS + MASKS})
    same({"scalar tensor": (x[cn.tensor(1)], A[1]), "uint8": (x[np.uint8([1])], A[[1]])})


def test_write(same) -> None:
    rng = np.random.default_rng(0)
    cases = {}
    for form in (lambda key: key, on_device):
        for key in BASIC + ARRAYS + MASKS:
            wanted, x = A.copy(), cn.tensor(A)
            values = rng.standard_normal(A[key].shape).astype(np.float32)
            wanted[key], x[form(key)] = values, cn.tensor(values)
            cases[f"{key} values {form.__name__}"] = (x, wanted)
    same(cases)


def test_write_numbers_and_broadcasts(same) -> None:
    cases = {}
    for i, key in enumerate(BASIC + ARRAYS + MASKS):
        wanted, x = A.copy(), cn.tensor(A)
        wanted[key], x[on_device(key)] = 7 + i, 7 + i
        cases[f"{key} number"] = (x, wanted)
    x, wanted = cn.tensor(A), A.copy()
    x[:, 1], wanted[:, 1] = cn.arange(5), np.arange(5)
    x[0, [0, 2]], wanted[0, [0, 2]] = cn.arange(4).reshape(4, 1), np.arange(4).reshape(4, 1)
    x[1, 0, 0] = [[5, 4, 3, 2, 1]]
    wanted[1, 0, 0] = [5, 4, 3, 2, 1]
    cases["broadcast"] = (x, wanted)
    whole = cn.zeros(3, dtype=cn.int64)
    whole[1:] = 2.75
    whole[[0]] = cn.tensor(1.5)
    cases["cast"] = (whole, np.array([1, 2, 2]))
    same(cases)


def test_last_write_wins() -> None:
    values = cn.tensor([1.0, 2.0, 3.0, 4.0])
    for index in ([1, 1, -1, 1], cn.tensor([1, 1, -1, 1])):
        x = cn.zeros(4)
        x[index] = values
        assert x.tolist() == [0, 4, 0, 3]
    # Device indices outside write nothing.
    x = cn.zeros(2)
    x[cn.tensor([5, 0, -9])] = cn.tensor([1.0, 2.0, 3.0])
    assert x.tolist() == [2, 0]


def test_masks_of_numbers() -> None:
    s = cn.tensor(3.0)
    assert s[s > 1].tolist() == [3] and s[s > 5].shape == (0,)
    assert s[None].shape == (1,) and s[...].item() == s[()].item() == 3
    assert cn.arange(3)[True].shape == (1, 3) and cn.arange(3)[False].shape == (0, 3)
    s[s > 1] = 9
    assert s.item() == 9


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (5, cn.IndexOutOfRange, r"index: 5 in dimension 0 of float32\[2, 3, 4, 5\]; needs -2 to 1"),
        ((0, -4), cn.IndexOutOfRange, "-4 in dimension 1"),
        ((0,) * 5, cn.IndexOutOfRange, "5 indices for .*needs at most 4"),
        ((..., ...), cn.IndexOutOfRange, "at most one"),
        ([0, 2], cn.IndexOutOfRange, "2 in dimension 0"),
        ((_all, np.array([-4])), cn.IndexOutOfRange, "-4 in dimension 1"),
        (1.5, cn.DTypeError, "a float; needs integers"),
        ("a", cn.DTypeError, "a str; needs integers"),
        ([0.5], cn.DTypeError, "an array of float64; needs integers"),
        (cn.ones(2), cn.DTypeError, "float32; needs integers"),
        (np.ones(3, bool), cn.IndexOutOfRange, r"a mask of shape \[3\] .*needs \[2\]"),
        (([0, 1], [0, 1, 2]), cn.ShapeError, "index: cannot broadcast"),
    ],
    ids=str,
)
def test_keys_that_are_refused(key: Any, error: type[Exception], message: str) -> None:
    x = cn.tensor(A)
    with pytest.raises(error, match=message):
        x[key]
    with pytest.raises(error, match=message):
        x[key] = 0


def test_values_that_are_refused() -> None:
    x = cn.zeros(2, 3)
    with pytest.raises(cn.ShapeError, match=r"cannot expand float32\[2\] to \[3\]"):
        x[0] = cn.ones(2)
    with pytest.raises(cn.ShapeError, match=r"cannot write float32\[2, 3\] to .*\[3\]"):
        x[0] = cn.ones(2, 3)
    leaf = cn.ones(2, requires_grad=True)
    with pytest.raises(cn.GradientError, match="leaf"):
        leaf[0] = 1
    with cn.no_grad():
        leaf[0] = 5
    assert leaf.tolist() == [5, 1] and leaf.requires_grad


def test_views_share(same) -> None:
    x = cn.arange(12, dtype=cn.float32).reshape(3, 4)
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    row, column, corner = x[1], x.T[2], x[1:, ::2]
    view = x.view(2, 6)[:, 0]
    row += 10
    a[1] += 10
    column.mul_(2)
    a[:, 2] *= 2
    corner[0] = -1
    a[1:, ::2][0] = -1
    view[1] = 99
    a.reshape(2, 6)[1, 0] = 99
    x.transpose(0, 1)[3][0] = 50
    a.T[3][0] = 50
    copied = x[[0, 1]]
    copied.zero_()
    same(
        {
            "x": (x, a),
            "row": (row, a[1]),
            "column": (column, a[:, 2]),
            "corner": (corner, a[1:, ::2]),
            "view": (view, a.reshape(2, 6)[:, 0]),
        }
    )


def test_gradients() -> None:
    x = cn.ones(2, 3, requires_grad=True)
    (x[0, ::2].sum() + 2 * x[[1, 1], [0, 0]].sum() + x[x > 5].sum()).backward()
    assert x.grad.tolist() == [[1, 0, 1], [4, 0, 0]]
    # A write cuts the gradient of what it replaces, and passes it to the value.
    v = cn.ones(2, requires_grad=True)
    x.grad = None
    y = x * 1
    y[:, 1] = v
    y[[0, 0], [2, 2]] = v * 3
    (y * cn.arange(6).reshape(2, 3)).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0], [3, 0, 5]]
    assert v.grad.tolist() == [1, 10]


def test_positions(same) -> None:
    a = np.array([[0, 1, 0], [2, 0, 3]])
    x = cn.tensor(a)
    rows, columns = x.nonzero(as_tuple=True)
    filled = a.copy()
    filled[:, [0, 2]] = 9
    same(
        {
            "nonzero": (x.nonzero(), np.argwhere(a)),
            "rows": (rows, a.nonzero()[0]),
            "columns": (columns, a.nonzero()[1]),
            "of a number": (cn.tensor(3).nonzero(), np.zeros((1, 0), np.int64)),
            "masked_select": (x.masked_select(cn.tensor([True, False, True])), a[:, ::2].ravel()),
            "index_fill": (x.index_fill(1, cn.tensor([0, 2]), 9), filled),
            "empty": (cn.zeros(0, 2)[:, 0], np.zeros(0, np.float32)),
            "empty rows": (cn.zeros(0, 2)[[]], np.zeros((0, 2), np.float32)),
        }
    )


@given(hnp.basic_indices((2, 3, 4, 5), allow_newaxis=True, allow_ellipsis=True))
def test_any_basic_index(key: Any) -> None:
    """Any slice, integer, None and ... reads what NumPy reads; a view never compiles a kernel."""
    x = _x()
    np.testing.assert_array_equal(x[key].numpy(), A[key])


@given(st.data())
def test_any_integer_arrays(data: st.DataObject) -> None:
    """Any integer arrays that broadcast read what NumPy reads."""
    shapes = hnp.array_shapes(max_dims=2)
    key = data.draw(hnp.integer_array_indices(A.shape, result_shape=shapes))
    np.testing.assert_array_equal(_x()[key].numpy(), A[key])


def _x() -> cn.Tensor:
    return cn.tensor(A)


def test_eager_mode_keeps_views(same) -> None:
    """A view that had to be copied at once still writes to what it is a view of."""
    key = ([1, 0, 1], _all, [0, -1, 2])
    x, wanted = cn.tensor(A), A.copy()
    with cn.eager():
        x[on_device(key)] = -1
        x.T.reshape(-1)[:5] = -2
    wanted[key] = -1
    wanted[(0, 1, 0, 1, 0), (0, 0, 1, 1, 2), 0, 0] = -2
    same({"x": (x, wanted)})
