"""Between dtypes, devices, NumPy and Python's numbers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import clnet as cn


def test_dtypes(same) -> None:
    a = np.array([0.0, 1.5, -2.5, 100.25], np.float32)
    x = cn.tensor(a)
    half = a.astype(np.float16)
    same(
        {
            "int": (x.int(), a.astype(np.int32)),
            "long": (x.long(), a.astype(np.int64)),
            "bool": (x.bool(), a.astype(bool)),
            "half": (x.half(), half),
            "double": (x.double(), a.astype(np.float64)),
            "byte": (x.abs().byte(), abs(a).astype(np.uint8)),
            "to name": (x.to("float16"), half),
            "to NumPy's": (x.to(np.int32), a.astype(np.int32)),
            "to keyword": (x.to(dtype=cn.float16), half),
            "to other": (x.to(cn.zeros(1, dtype=cn.int64)), a.astype(np.int64)),
            "type_as": (x.type_as(cn.zeros(1, dtype=cn.bool)), a.astype(bool)),
            "bfloat16": (x.bfloat16().float(), np.float32([0, 1.5, -2.5, 100])),
            "round trip": (x.half().float(), half.astype(np.float32)),
        }
    )
    assert x.to(cn.float32) is x.float() is x.to(x.device) is x
    assert x.to(cn.float32, copy=True) is not x
    assert x.bool().dtype is cn.bool
    with pytest.raises(cn.DeviceError, match="float33"):
        x.to("float33")


def test_bfloat16_on_the_host_rounds_to_even() -> None:
    # 1 + 2^-8 lies halfway between two bfloat16 numbers; the even one is 1.
    numbers = [1.0, 1.00390625, 1.01171875, float("inf"), -3.0e38]
    x = cn.tensor(numbers, dtype=cn.bfloat16)
    same_on_device = cn.tensor(numbers).bfloat16()
    assert x.tolist() == same_on_device.tolist()
    assert x.tolist()[:4] == [1.0, 1.0, 1.015625, float("inf")]
    assert np.isnan(cn.tensor(float("nan"), dtype=cn.bfloat16).item())
    assert x[2].item() == 1.015625
    with pytest.raises(cn.DTypeError, match=r"numpy: NumPy has no dtype for bfloat16\[5\]"):
        x.numpy()
    assert x.numpy(force=True).dtype == np.float32


def test_numpy_of_every_layout() -> None:
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    x = cn.tensor(a)
    for name, got, wanted in (
        ("transposed", x.permute(2, 0, 1), a.transpose(2, 0, 1)),
        ("reversed", x.flip(0, 2), a[::-1, :, ::-1]),
        ("strided", x[:, ::2, 1::2], a[:, ::2, 1::2]),
        ("expanded", x[:, :1].expand(2, 5, 4), np.broadcast_to(a[:, :1], (2, 5, 4))),
        ("number", x[1, 2, 3], a[1, 2, 3]),
        ("nothing", x[:, 3:], a[:, 3:]),
    ):
        np.testing.assert_array_equal(got.numpy(), wanted, err_msg=name)
        assert not got.numpy().flags.writeable, name
    # Far fewer elements than the region that holds them: copied on the device first.
    wide = cn.zeros(100, 100) + cn.arange(100)
    np.testing.assert_array_equal(wide[:, 7].numpy(), np.full(100, 7, np.float32))


def test_numpy_is_a_snapshot() -> None:
    x = cn.tensor([1.0, 2.0])
    before = x.numpy()
    x.add_(1)
    assert before.tolist() == [1.0, 2.0]
    assert x.tolist() == [2.0, 3.0]
    del x
    assert before.tolist() == [1.0, 2.0]


def test_numpy_of_what_requires_grad() -> None:
    x = cn.ones(2, requires_grad=True)
    for call in (x.numpy, lambda: np.asarray(x), (x * 2).numpy):
        with pytest.raises(cn.GradientError, match=r"use x.detach\(\).numpy\(\)"):
            call()
    assert x.detach().numpy().tolist() == x.tolist() == x.numpy(force=True).tolist() == [1, 1]


def test_array_protocol() -> None:
    x = cn.arange(3)
    assert np.asarray(x).tolist() == [0, 1, 2]
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    assert np.array(x).flags.writeable
    np.testing.assert_array_equal(np.stack([x, x]), [[0, 1, 2], [0, 1, 2]])
    with pytest.raises(ValueError, match="needs a copy"):
        x.__array__(np.float32, copy=False)


def test_python_numbers() -> None:
    x = cn.tensor([[2.5]])
    assert (x.item(), float(x), int(x), bool(x), f"{x[0, 0]:.2f}") == (2.5, 2.5, 2, True, "2.50")
    assert isinstance(cn.tensor(3).item(), int)
    assert isinstance(cn.tensor(True).item(), bool)
    assert [10, 20, 30][cn.tensor(1)] == 20
    assert cn.arange(6).reshape(2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert cn.tensor(7).tolist() == 7
    assert cn.arange(5)[3].item() == 3
    assert len(cn.zeros(4, 2)) == 4
    assert [row.tolist() for row in cn.arange(4).reshape(2, 2)] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cn.ones(2).item(), cn.ShapeError, r"item: float32\[2\] has 2 elements"),
        (lambda: float(cn.ones(2)), cn.ShapeError, "needs one"),
        (lambda: bool(cn.ones(2)), cn.ShapeError, "ambiguous; use x.any"),
        (lambda: [1][cn.tensor(0.0)], TypeError, "cannot be an index"),
        (lambda: len(cn.tensor(1)), TypeError, "0-d"),
        (lambda: iter(cn.tensor(1)), TypeError, "0-d"),
    ],
)
def test_numbers_that_are_refused(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_clone_detach_contiguous() -> None:
    x = cn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y, z = x.clone(), x.detach()
    assert y.requires_grad and not z.requires_grad
    with cn.no_grad():
        x.mul_(2)
    assert y.tolist() == [[1, 2], [3, 4]]
    # detach shares: it shows, and takes, in-place changes, and still has no gradient.
    assert z.tolist() == [[2, 4], [6, 8]] and not z.requires_grad
    with cn.no_grad():
        z[0] = 0
    assert x.tolist() == [[0, 0], [6, 8]] and x.requires_grad and x.is_leaf
    t = x.detach().T
    assert not t.is_contiguous() and t.contiguous().is_contiguous() and z.contiguous() is z
    assert t.stride() == (1, 2) and t.contiguous().stride() == (2, 1)
    assert t.contiguous().tolist() == [[0, 6], [0, 8]]


def test_copies_of_python() -> None:
    x = cn.tensor([1.0, 2.0], requires_grad=True)
    y = copy.deepcopy(x)
    assert y.tolist() == [1, 2] and y.requires_grad
    assert pickle.loads(pickle.dumps(cn.float16)) is cn.float16


def test_between_devices() -> None:
    """Between two devices where there are two; data and gradients go along."""
    others = [d for d in cn.devices() if d is not cn.device()]
    if not others:
        pytest.skip("this machine has one device")
    other = others[0]
    x = cn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x.T.to(other)
    assert y.device is other and y.tolist() == [[1, 3], [2, 4]]
    (y * y)[0].sum().backward()
    assert x.grad is not None and x.grad.device is cn.device()
    assert x.grad.tolist() == [[2, 0], [6, 0]]
    z = cn.tensor([1, 2], device=other)
    assert z.device is other and z.to(x).device is cn.device() and z.to(x).dtype is cn.float32
    assert z.new_zeros(2).device is other and (z + 1).device is other
    assert f"device='{other.index}'" in repr(z)
    with pytest.raises(cn.DeviceError, match=r"different devices"):
        x + y
    w = cn.zeros(2, 2)
    w.copy_(y.detach())
    assert w.device is cn.device() and w.tolist() == [[1, 3], [2, 4]]
    assert cn.zeros(0, 2).to(other).shape == (0, 2)
