"""The errors that kernels/include/math.h states, measured over the range of float32."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

import clnet as cn
from clnet.device.sources import kernel_folder
from clnet.engine.run import target
from clnet.records import OPS

STATED = {
    name: float(ulp)
    for name, ulp in re.findall(
        r"^//   (\w+) +([\d.]+) ulp;",
        Path(kernel_folder() / "include" / "math.h").read_text(),
        re.MULTILINE,
    )
}
NUMPY = {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan}
NUMPY["erf"] = np.vectorize(math.erf, otypes=[np.float64])
UNARY = sorted(STATED.keys() - {"pow"})
TINY = float(np.finfo(np.float32).tiny)


def inputs(name: str) -> np.ndarray:
    """Return floats of all magnitudes, and densely those where functions bend."""
    if name in ("asin", "acos"):
        return np.concatenate([np.linspace(-1.1, 1.1, 400_001), np.logspace(-37, 0, 1000)])
    magnitudes = np.logspace(-37.9, 38.5, 200_000)
    near = np.linspace(-110, 95, 400_000)
    quarters = np.arange(-3000, 3000) * (np.pi / 2)
    return np.concatenate([magnitudes, -magnitudes, near, near / 50, quarters, 1e34 * quarters])


def errors_in_ulp(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return the errors where results are usual numbers; check the others."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
    usual = np.isfinite(rounded) & (np.abs(rounded) >= TINY)
    np.testing.assert_array_equal(got[~np.isfinite(rounded)], rounded[~np.isfinite(rounded)])
    assert np.all(np.abs(got[~usual & np.isfinite(rounded)]) <= 1.01 * TINY)
    error = np.abs(got[usual].astype(np.float64) - exact[usual])
    return error / np.spacing(np.abs(rounded[usual]))


def allowed(name: str) -> float:
    """Return the error stated; OpenCL's own bounds where the platform's functions are used."""
    own = target(cn.device()).type == "cpu"
    return STATED[name] + 1e-9 if own else {"pow": 16.0, "tan": 5.0, "erf": 16.0}.get(name, 4.0)


def test_all_functions_state_their_error() -> None:
    header = Path(kernel_folder() / "include" / "math.h").read_text()
    own = header[: header.rindex("#else")]
    own += Path(kernel_folder() / "include" / "trigonometry.h").read_text()
    assert set(STATED) == set(
        re.findall(r"^static inline float (\w+)_float32\(", own, re.MULTILINE)
    )
    ops = set(re.findall(r"MATH\((\w+), D\)", " ".join(map(str, (op.expr for op in OPS.values())))))
    assert set(STATED) == ops


@pytest.mark.parametrize("name", UNARY)
def test_errors_are_at_most_those_stated(name: str) -> None:
    x = inputs(name).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = NUMPY.get(name, getattr(np, name, None))(x.astype(np.float64))
    assert errors_in_ulp(getattr(cn.tensor(x), name)().numpy(), exact).max() <= allowed(name)


def test_error_of_powers() -> None:
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(-80, 80, 300_000))
    y = rng.uniform(-1, 1, x.size) * np.minimum(87 / np.abs(np.log(x)), 1e4)
    near = 1 + rng.uniform(-1e-3, 1e-3, 100_000)
    a = np.concatenate([x, near, -np.arange(1.0, 50.0)]).astype(np.float32)
    b = np.concatenate([y, rng.uniform(-5e4, 5e4, near.size), np.arange(-24.0, 25.0)])
    b = b.astype(np.float32)
    exact = a.astype(np.float64) ** b.astype(np.float64)
    assert errors_in_ulp((cn.tensor(a) ** cn.tensor(b)).numpy(), exact).max() <= allowed("pow")


def test_special_values_of_powers() -> None:
    values = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 1e30, np.inf, -np.inf, np.nan]
    x, y = (v.reshape(-1).astype(np.float32) for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        wanted = np.power(x, y)
    found = (cn.tensor(x) ** cn.tensor(y)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_numbers_below_the_normal_range() -> None:
    x = cn.tensor(np.array([1e-40, 1e-45], np.float32))
    flushed = (x * 2).numpy()[0] == 0  # the device takes them for 0, which then has no logarithm
    wanted = np.full(2, -np.inf) if flushed else np.log([1e-40, 1.401298464324817e-45])
    found = x.log().numpy()
    assert np.all(np.isinf(found) | np.isclose(found, np.log([1e-40, 1.401298464324817e-45])))
    assert flushed or np.allclose(found, wanted)


ODD = ("asin", "atan", "erf", "expm1", "log1p", "sin", "sinh", "tan", "tanh")


@pytest.mark.parametrize("name", ODD)
def test_signed_zeros(name: str) -> None:
    found = getattr(cn.tensor([0.0, -0.0]), name)().numpy()
    np.testing.assert_array_equal(found, [0, 0])
    np.testing.assert_array_equal(np.signbit(found), [False, True])


@pytest.mark.parametrize("name", UNARY)
def test_not_a_number_and_infinities(name: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    with np.errstate(all="ignore"):
        wanted = NUMPY.get(name, getattr(np, name, None))(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(getattr(cn.tensor(x), name)().numpy(), wanted, rtol=1e-6)


def test_special_values() -> None:
    x = cn.tensor([np.inf, -np.inf, np.nan, 0.0, -0.0, 1000.0, -1000.0])
    np.testing.assert_array_equal(x.exp().numpy(), [np.inf, 0, np.nan, 1, 1, np.inf, 0])
    tanh = x.tanh().numpy()
    np.testing.assert_array_equal(tanh, [1, -1, np.nan, 0, 0, 1, -1])
    assert np.signbit(tanh[4])
    assert not np.signbit(tanh[3])
