"""window_map: against convolutions in NumPy, unequal lengths, gradients, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn


def convolved(x: np.ndarray, w: np.ndarray, stride: int, padding: int, dilation: int) -> np.ndarray:
    """x: [t, i]; w: [size, i, o]."""
    x = np.pad(x, ((padding, padding), (0, 0)))
    reach = dilation * (len(w) - 1) + 1
    starts = range(0, len(x) - reach + 1, stride)
    rows = [np.einsum("ki,kio->o", x[s : s + reach : dilation], w) for s in starts]
    return np.array(rows).reshape(-1, w.shape[2])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [(1, 1, 0, 1), (3, 1, 0, 1), (3, 1, 1, 1), (2, 2, 1, 1), (3, 2, 2, 2), (7, 1, 0, 1)],
)
def test_a_linear_function_is_a_convolution(
    size: int, stride: int, padding: int, dilation: int, batch_first: bool
) -> None:
    layer = nn.Linear(size * 3, 2, bias=False)
    weight = layer.weight.detach().numpy().T.reshape(size, 3, 2)
    lengths = [7, 4, 1]
    x = np.random.default_rng(0).normal(size=(7, 3, 3)).astype(np.float32)
    options: Any = {"stride": stride, "padding": padding, "dilation": dilation}
    given = cn.tensor(x.swapaxes(0, 1) if batch_first else x, requires_grad=True)
    for ends in (None, lengths):
        found = cn.window_map(
            lambda w: layer(w.flatten(1)), given, size,
            lengths=ends, batch_first=batch_first, **options,
        )  # fmt: skip
        y = found.detach().numpy()
        y = y.swapaxes(0, 1) if batch_first else y
        for b in range(3):
            n = 7 if ends is None else lengths[b]
            wanted = convolved(x[:n, b], weight, stride, padding, dilation)
            np.testing.assert_allclose(y[: len(wanted), b], wanted, rtol=1e-4, atol=1e-5)
            assert not y[len(wanted) :, b].any()
    found.sum().backward()
    assert given.grad is not None
    grad = given.grad.numpy()
    grad = grad.swapaxes(0, 1) if batch_first else grad
    for b, n in enumerate(lengths):
        assert not grad[n:, b].any()
    assert grad.any()


def test_any_function_of_windows() -> None:
    x = cn.arange(5).reshape(5, 1)
    found = cn.window_map(lambda w: {"largest": w.amax(1), "first": w[:, 0]}, x, 2, stride=2)
    assert found["largest"].tolist() == [[1], [3]]
    assert found["first"].tolist() == [[0], [2]]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: cn.window_map(lambda w: w, cn.ones(5, 2), 0), ValueError, "size=0; needs"),
        (lambda: cn.window_map(lambda w: w, cn.ones(5, 2), 2, padding=-1), ValueError, "padding="),
        (lambda: cn.window_map(lambda w: w, cn.ones(5), 2), cn.ShapeError, r"needs \[t, b, \.\.\]"),
        (lambda: cn.window_map(lambda w: w, 3.0, 2), cn.DTypeError, "the input has a float"),
        (lambda: cn.window_map(lambda w: w, cn.ones(5, 2), 6), cn.ShapeError,
         "got 5 steps and 0 of padding; needs at least 6"),
        (lambda: cn.window_map(lambda w: w.sum(0), cn.ones(5, 2), 2), cn.ShapeError,
         r"made float32\[2\] of float32\[8, 2\]; needs \[8, "),
        (lambda: cn.window_map(lambda w: w, cn.ones(5, 2), 2, lengths=[6, 1]), ValueError,
         "lengths from 1 to 6; needs 1 to 5"),
    ],
)  # fmt: skip
def test_errors(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()
