"""Tensors from data and filled tensors: values, dtypes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (True, cn.bool),
        (3, cn.int64),
        (2.5, cn.float32),
        ([[1, 2], [3, 4]], cn.int64),
        ([1, 2.5], cn.float32),
        ([True, False], cn.bool),
        ([], cn.float32),
        ([[], []], cn.float32),
        (np.float64(1.5), cn.float64),
        (np.arange(3, dtype=np.int32), cn.int32),
        (np.arange(6, dtype=np.uint8).reshape(2, 3).T, cn.uint8),
        (np.arange(3, dtype=">f4"), cn.float32),
        (np.zeros((0, 3), np.float16), cn.float16),
        ([np.ones(2), np.zeros(2)], cn.float64),
    ],
    ids=str,
)
def test_tensor_of_data(data: object, dtype: cn.DType) -> None:
    x = cn.tensor(data)
    assert x.dtype is dtype
    array = np.asarray(data)
    assert x.shape == array.shape
    np.testing.assert_array_equal(x.numpy(), array)
    assert not x.numpy().flags.writeable


def test_tensor_copies_and_converts() -> None:
    array = np.array([1.75, -2.0, 3.0], np.float32)
    x = cn.tensor(array)
    array[:] = 0
    assert x.tolist() == [1.75, -2.0, 3.0]
    assert cn.tensor(x, dtype=cn.int32).tolist() == [1, -2, 3]
    assert cn.tensor(np.array([1, 2], np.int16), dtype="float64").tolist() == [1.0, 2.0]
    y = cn.tensor(x, requires_grad=True)
    assert y.requires_grad and y.is_leaf and not x.requires_grad
    assert cn.as_tensor(x) is x
    assert cn.as_tensor(x, dtype=cn.float16).dtype is cn.float16
    assert cn.tensor([cn.tensor(1.5), cn.tensor(2.0)]).tolist() == [1.5, 2.0]
    assert x.new_tensor([1, 2]).dtype is cn.float32


def test_from_numpy_and_dlpack() -> None:
    for array in (np.arange(5), np.array([[1.5], [2.5]], np.float32), np.zeros((0, 2))):
        for x in (cn.from_numpy(array), cn.from_dlpack(array), cn.as_tensor(array)):
            assert x.dtype.name == array.dtype.name
            np.testing.assert_array_equal(x.numpy(), array)
    # Aligned memory: where the device can, the tensor lies on it.
    room = np.zeros(64 + 16, np.float32)
    start = (-room.ctypes.data % 64) // 4
    aligned = room[start : start + 16]
    aligned[:] = range(16)
    assert cn.from_numpy(aligned).tolist() == list(range(16))
    x = cn.arange(4).reshape(2, 2)
    np.testing.assert_array_equal(np.from_dlpack(x), [[0, 1], [2, 3]])
    with pytest.raises(TypeError, match=r"from_numpy: got list"):
        cn.from_numpy([1])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([[1, 2], [3]], cn.ShapeError, "tensor: cannot make an array of this list"),
        ("abc", cn.DTypeError, "tensor: cannot make a tensor of str"),
        ([1, None], cn.DTypeError, "needs real numbers"),
        (1j, cn.DTypeError, "cannot make a tensor of complex"),
        (np.zeros(2, np.int16), cn.DTypeError, "int16.* is not supported; choose one of"),
        ([2**70], cn.DTypeError, "needs real numbers"),
    ],
    ids=str,
)
def test_data_that_is_refused(data: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cn.tensor(data)


def test_filled(same) -> None:
    x = cn.zeros(2, 3, dtype=cn.int32)
    same(
        {
            "zeros": (cn.zeros(2, 3), np.zeros((2, 3), np.float32)),
            "ones": (cn.ones((2,), dtype=cn.int64), np.ones(2, np.int64)),
            "0-d": (cn.zeros(()), np.float32(0)),
            "no size": (cn.ones(), np.float32(1)),
            "no elements": (cn.ones(2, 0), np.ones((2, 0), np.float32)),
            "full": (cn.full((2, 2), 7), np.full((2, 2), 7)),
            "full float": (cn.full((2,), 0.5), np.full(2, 0.5, np.float32)),
            "full bool": (cn.full((2,), True), np.full(2, True)),
            "full int": (cn.full(3, 2, dtype="int32"), np.full(3, 2, np.int32)),
            "full of tensor": (cn.full((2,), cn.tensor(1.5)), np.full(2, 1.5, np.float32)),
            "zeros_like": (cn.zeros_like(x), np.zeros((2, 3), np.int32)),
            "ones_like": (cn.ones_like(x, dtype=cn.float32), np.ones((2, 3), np.float32)),
            "full_like": (cn.full_like(x, 9), np.full((2, 3), 9, np.int32)),
            "new_zeros": (x.new_zeros(2), np.zeros(2, np.int32)),
            "new_ones": (x.new_ones((1, 2)), np.ones((1, 2), np.int32)),
            "new_full": (x.new_full((2,), 3, dtype=cn.float32), np.full(2, 3, np.float32)),
            "arange": (cn.arange(5), np.arange(5)),
            "arange float": (cn.arange(1, 2, 0.25), np.arange(1, 2, 0.25, np.float32)),
            "arange down": (cn.arange(5, 0, -2), np.arange(5, 0, -2)),
            "arange dtype": (cn.arange(3, dtype=cn.float32), np.arange(3, dtype=np.float32)),
            "arange empty": (cn.arange(0), np.arange(0)),
            "linspace": (cn.linspace(-1, 1, 5), np.linspace(-1, 1, 5, dtype=np.float32)),
            "linspace 0": (cn.linspace(0, 1, 0), np.zeros(0, np.float32)),
            "eye": (cn.eye(3), np.eye(3, dtype=np.float32)),
            "eye n m": (cn.eye(2, 3, dtype=cn.int64), np.eye(2, 3, dtype=np.int64)),
        }
    )
    assert cn.empty(2, 3).shape == cn.empty_like(x).shape == x.new_empty(2, 3).shape == (2, 3)
    assert cn.zeros(2, requires_grad=True).requires_grad


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cn.zeros(-1), cn.ShapeError, r"zeros: sizes are \[-1\]"),
        (lambda: cn.zeros(2.5), cn.ShapeError, "zeros: sizes are .2.5.; needs integers"),
        (lambda: cn.full((2,), 300, dtype=cn.uint8), cn.DTypeError, "300 does not fit uint8"),
        (lambda: cn.full((2,), cn.ones(2)), cn.ShapeError, "needs a number"),
        (lambda: cn.arange(0, 5, -1), cn.ShapeError, "arange: from 0 to 5 by -1"),
        (lambda: cn.zeros(2, dtype="int7"), cn.DTypeError, "'int7' is not supported"),
        (lambda: cn.ones(2, dtype=cn.int64, requires_grad=True), cn.GradientError, "floating"),
        (lambda: cn.zeros(2, device="no such device"), cn.DeviceError, "no such device"),
    ],
)
def test_sizes_and_numbers_that_are_refused(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_float64_where_the_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    device = cn.device()
    monkeypatch.setattr(device, "caps", type("Caps", (), {"fp64": False})())
    for call in (
        lambda: cn.tensor(np.zeros(2)),
        lambda: cn.zeros(2, dtype=cn.float64),
        lambda: cn.ones(2).double(),
    ):
        with pytest.raises(cn.DTypeError, match=r"has no float64 .*use dtype=clnet.float32"):
            call()
