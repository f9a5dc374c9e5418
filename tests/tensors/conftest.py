"""How results are compared with NumPy's: many at once, because each plan compiles its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn

Cases = dict[str, tuple[cn.Tensor, Any]]


@pytest.fixture
def same() -> Callable[[Cases], None]:
    """Return a check that named tensors, evaluated together, equal their arrays, dtype included.

    Floats must agree to 2e-6 (relative and absolute): a few roundings of float32.
    """

    def check(cases: Cases) -> None:
        cn.eval(*(x for x, _ in cases.values()))
        for name, (x, expected) in cases.items():
            wanted = np.asarray(expected)
            got = x.detach().numpy()
            assert got.dtype == wanted.dtype, f"{name}: {got.dtype}, not {wanted.dtype}"
            assert got.shape == wanted.shape == x.shape, f"{name}: {got.shape}, not {wanted.shape}"
            np.testing.assert_allclose(got, wanted, 2e-6, 2e-6, err_msg=name)

    return check
