"""Operands of the tests of kernels."""

from __future__ import annotations

import numpy as np


def random(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Return normal numbers of deviation 4, the same ones for a shape."""
    x = np.random.default_rng(0).normal(size=shape) * 4
    return x > 0 if dtype == "bool" else x.astype(dtype)
