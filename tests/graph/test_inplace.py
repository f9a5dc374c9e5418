"""In-place methods: handles move on, views write through, what was recorded stays."""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn


def test_what_was_recorded_before_sees_the_old_value() -> None:
    x = cn.tensor([1.0, 2.0])
    y = x * 10
    x.add_(5)
    assert y.tolist() == [10.0, 20.0]
    assert x.tolist() == [6.0, 7.0]


@pytest.mark.parametrize("computed", [False, True])
def test_views_write_through_and_see_writes(computed: bool) -> None:
    x = cn.arange(12).float().reshape(3, 4)
    want = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    if computed:
        cn.eval(x)
    row, column = x[1], x.T[2]
    row.add_(100)
    want[1] += 100
    column.mul_(2)
    want[:, 2] *= 2
    x[0, ::-2] = -1
    want[0, ::-2] = -1
    for got, expected in ((x, want), (row, want[1]), (column, want[:, 2])):
        np.testing.assert_array_equal(got.numpy(), expected)


def test_a_view_of_a_view_writes_to_the_base() -> None:
    x = cn.zeros(2, 6)
    x.reshape(2, 2, 3)[1].T[0].fill_(7)
    assert x.tolist() == [[0.0] * 6, [7.0, 0.0, 0.0, 7.0, 0.0, 0.0]]


def test_gradients_flow_through_writes() -> None:
    x = cn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2
    y[1] = y[0] * 5
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [12.0, 0.0, 2.0]


def test_a_leaf_that_requires_grad_is_changed_only_under_no_grad() -> None:
    w = cn.ones(2, requires_grad=True)
    with pytest.raises(cn.GradientError, match="no_grad"):
        w.add_(1)
    with cn.no_grad():
        w.add_(1)
    assert w.is_leaf
    assert w.requires_grad
    (w * w).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [4.0, 4.0]


def test_gradients_use_the_value_at_the_time() -> None:
    w = cn.tensor([3.0], requires_grad=True)
    y = w * w
    with cn.no_grad():
        w.fill_(100.0)
    y.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [6.0]


def test_stores_keep_shape_and_dtype() -> None:
    x = cn.ones(2, dtype=cn.int64)
    with pytest.raises(cn.DTypeError):
        x.add_(0.5)
    with pytest.raises(cn.ShapeError):
        x.add_(cn.ones(3, dtype=cn.int64))
    assert x.tolist() == [1, 1]


def test_detached_tensors_share_memory() -> None:
    w = cn.ones(2, requires_grad=True)
    with cn.no_grad():
        w.detach().add_(1)
    assert w.tolist() == [2.0, 2.0]
    assert not w.detach().requires_grad
