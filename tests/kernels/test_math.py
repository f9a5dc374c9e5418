"""The errors that kernels/include/math.h states, measured over the range of float32."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import clnet as cn
from clnet.device.sources import kernel_folder

STATED = {
    name: float(ulp)
    for name, ulp in re.findall(
        r"^//   (\w+) +([\d.]+) ulp;",
        Path(kernel_folder() / "include" / "math.h").read_text(),
        re.MULTILINE,
    )
}
TINY = float(np.finfo(np.float32).tiny)


def inputs() -> np.ndarray:
    """Return floats of all magnitudes, and densely those where functions bend."""
    magnitudes = np.logspace(-37.9, 38.5, 200_000)
    near = np.linspace(-110, 95, 400_000)
    return np.concatenate([magnitudes, -magnitudes, near, near / 50]).astype(np.float32)


def errors_in_ulp(name: str, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(x.astype(np.float64))
        rounded = exact.astype(np.float32)
    got = getattr(cn.tensor(x), name)().numpy()
    usual = np.isfinite(rounded) & (np.abs(rounded) >= TINY)
    np.testing.assert_array_equal(got[~np.isfinite(rounded)], rounded[~np.isfinite(rounded)])
    assert np.all(np.abs(got[~usual & np.isfinite(rounded)]) <= 1.01 * TINY)
    error = np.abs(got[usual].astype(np.float64) - exact[usual])
    return error / np.spacing(np.abs(rounded[usual]))


def test_all_functions_state_their_error() -> None:
    assert set(STATED) == {"exp", "tanh"}


@pytest.mark.parametrize("name", sorted(STATED))
def test_errors_are_at_most_those_stated(name: str) -> None:
    worst = errors_in_ulp(name, inputs()).max()
    assert worst <= max(STATED[name], 2.0 if cn.device().type != "cpu" else 0.0) + 1e-9


def test_special_values() -> None:
    x = cn.tensor([np.inf, -np.inf, np.nan, 0.0, -0.0, 1000.0, -1000.0])
    np.testing.assert_array_equal(x.exp().numpy(), [np.inf, 0, np.nan, 1, 1, np.inf, 0])
    tanh = x.tanh().numpy()
    np.testing.assert_array_equal(tanh, [1, -1, np.nan, 0, 0, 1, -1])
    assert np.signbit(tanh[4])
    assert not np.signbit(tanh[3])
