"""The public checks reject what they are for, and say it."""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn
from clnet.testing import TABLE, check_op, difference, gradcheck, gradgradcheck, laid_out
from clnet.testing.tolerance import EPS


@pytest.fixture
def points() -> list[cn.Tensor]:
    if not cn.device().caps.fp64:
        pytest.skip("the device has no float64, without which differences are noise")
    values = np.random.default_rng(0).uniform(0.5, 1.5, (2, 3, 2))
    return [cn.tensor(v) for v in values]


def test_gradcheck_takes_functions_of_several_results(points: list[cn.Tensor]) -> None:
    def f(x: cn.Tensor, y: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
        return x @ y.T, cn.exp(x).sum()

    assert gradcheck(f, points)
    assert gradgradcheck(f, points)


def _off(scale: float) -> cn.custom_vjp:
    @cn.custom_vjp
    def square(x: cn.Tensor) -> cn.Tensor:
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, d: (2 * scale * d * x,))
    return square


def test_gradcheck_rejects_a_twentieth_of_a_percent(points: list[cn.Tensor]) -> None:
    assert gradcheck(_off(1.0), points[0])
    with pytest.raises(AssertionError, match="input 1: 6 of 6 elements differ"):
        gradcheck(_off(1.0005), points[0])


def test_gradcheck_takes_other_tolerances(points: list[cn.Tensor]) -> None:
    assert gradcheck(_off(1.0005), points[0], rtol=1e-2)


def test_gradgradcheck_rejects_a_wrong_second_derivative(points: list[cn.Tensor]) -> None:
    @cn.custom_vjp
    def square(x: cn.Tensor) -> cn.Tensor:
        return x * x

    square.defvjp(lambda x: (x * x, x.detach()), lambda x, d: (2 * d * x,))
    assert gradcheck(square, points[0])
    with pytest.raises(AssertionError):
        gradgradcheck(square, points[0])


def test_gradcheck_refuses_float32() -> None:
    with pytest.raises(cn.ClnetError, match=r"gradcheck: got float32\[2\]; needs float64"):
        gradcheck(cn.sin, cn.ones(2))


def test_check_op_refuses_functions() -> None:
    with pytest.raises(AssertionError, match="needs an op record"):
        check_op(cn.softmax)


# --- the comparison -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rounded", "function", "accumulated"])
@pytest.mark.parametrize("dtype", [cn.float16, cn.bfloat16, cn.float32, cn.float64])
def test_tolerance_is_between_rounding_and_a_visible_error(dtype: cn.DType, kind: str) -> None:
    one = np.ones(3)
    units = 70 * EPS[dtype.name] if dtype.itemsize > 2 else 3 * EPS[dtype.name]
    expected = one if kind != "accumulated" else one * 4
    assert difference(expected * (1 + EPS[dtype.name] / 2), expected, dtype, kind) is None
    assert difference(expected * (1 + units), expected, dtype, kind) is not None


def test_every_tolerance_has_a_reason() -> None:
    assert all(len(row.reason) > 20 for row in TABLE.values())


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (np.inf, 1e30),
        (1e30, np.inf),
        (np.nan, 1.0),
        (1.0, np.nan),
        (-np.inf, np.inf),
        (np.nan, np.inf),
    ],
)
def test_infinities_and_nan_are_not_close_to_anything(got: float, expected: float) -> None:
    assert difference(np.array([got]), np.array([expected]), cn.float32, "function") is not None


def test_shapes_are_not_broadcast() -> None:
    wrong = difference(np.ones((3, 1)), np.ones((3, 3)), cn.float32, "rounded")
    assert wrong == "shape [3, 1]; needs [3, 3]"


def test_integers_are_exact() -> None:
    wrong = difference(np.array([1, 2]), np.array([1, 3]), cn.int64, "exact")
    assert wrong is not None
    assert "[1]" in wrong


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "stepped", "reversed", "broadcast"])
def test_layouts_hold_the_values_they_were_given(layout: str) -> None:
    values = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    if layout == "broadcast":
        values = np.broadcast_to(values[:, :1], (2, 3))
    x = laid_out(values, cn.float32, layout)
    assert (x.stride() == (3, 1)) == (layout == "contiguous")
    np.testing.assert_array_equal(x.numpy(), values)
