#!/usr/bin/env python3
"""Fit the polynomials of kernels/include/math.h: least largest error, coefficients in float32.

    python3 tools/fit_math.py [NAME ...]    prints coefficients, highest power first, and errors

Each is fitted by weighted least squares on Chebyshev nodes, the weights raised where the error is
large until it is even (Lawson, 1961), in float64; the coefficients are then rounded to float32 one
at a time, from the lowest power on, and the others fitted again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


class Fit(NamedTuple):
    """Fit `value(x)` on [low, high] by `degree`, such that errors times `weight(x)` are even."""

    value: Function
    weight: Function
    low: float
    high: float
    degree: int


def _each(f: Callable[[float], float]) -> Function:
    return np.vectorize(f, otypes=[np.float64])


def _log_rest(f: np.ndarray) -> np.ndarray:
    """(log(1 + f) - f + f^2 / 2) / f^3, by its series near 0 where that cancels."""
    series = sum((-1) ** n * f**n / (n + 3) for n in range(24))
    return np.where(
        np.abs(f) < 0.05, series, (np.log1p(f) - f + f * f / 2) / np.where(f, f, 1) ** 3
    )


def _odd_rest(f: Function, z: np.ndarray) -> np.ndarray:
    """(f(x) / x - f'(0)) for x = sqrt(z), where f'(0) is 1."""
    x = np.sqrt(z)
    return f(x) / x - 1


_LOG_ERFC = _each(lambda t: math.log(math.erfc(t)))

FITS = {
    # log(1 + f) = f - f^2 / 2 + f^3 P(f)
    "log": Fit(_log_rest, lambda f: np.abs(f**3 / np.log1p(f)), -0.2930, 0.4143, 8),
    # sin(x) = x + x z P(z), cos(x) = 1 - z / 2 + z^2 P(z), z = x^2
    "sin": Fit(lambda z: _odd_rest(np.sin, z) / z, lambda z: z, 1e-6, 0.6175, 3),
    "cos": Fit(lambda z: (np.cos(np.sqrt(z)) - 1 + z / 2) / z**2, lambda z: z**2, 1e-3, 0.6175, 3),
    # erf(x) = x + x P(z) for |x| < 0.92; log(erfc(t)) = P(t) beyond
    "erf_near": Fit(lambda z: _odd_rest(_each(math.erf), z), lambda z: z * 0 + 1, 1e-8, 0.8465, 6),
    "erf_far": Fit(_LOG_ERFC, lambda t: np.exp(_LOG_ERFC(t)), 0.92, 4.0, 8),
    # atan(x) = x + x z P(z) for |x| <= 1; asin likewise for |x| <= 0.5
    "atan": Fit(lambda z: _odd_rest(np.arctan, z) / z, lambda z: z, 1e-5, 1.0, 8),
    "asin": Fit(lambda z: _odd_rest(np.arcsin, z) / z, lambda z: z, 1e-5, 0.25, 4),
}


def _solve(x: np.ndarray, y: np.ndarray, w: np.ndarray, powers: list[int]) -> np.ndarray:
    even = np.ones_like(x)
    matrix = np.stack([x**p for p in powers], 1)
    c = np.zeros(len(powers))
    for _ in range(60):
        scale = w * np.sqrt(even)
        c = np.linalg.lstsq(matrix * scale[:, None], y * scale, rcond=None)[0]
        error = np.abs(matrix @ c - y) * w
        even *= error + 1e-3 * error.max()
        even /= even.max()
    return c


def fit(what: Fit) -> tuple[list[float], float]:
    """Return the coefficients, lowest power first, and the largest weighted error."""
    nodes = np.cos((np.arange(4000) + 0.5) * np.pi / 4000)
    x = (what.low + what.high) / 2 + (what.high - what.low) / 2 * nodes
    y, w = what.value(x), what.weight(x)
    fixed: list[float] = []
    for power in range(what.degree + 1):
        rest = y - sum(c * x**p for p, c in enumerate(fixed))
        c = _solve(x, rest, w, list(range(power, what.degree + 1)))
        fixed.append(float(np.float32(c[0])))
    error = np.abs(sum(c * x**p for p, c in enumerate(fixed)) - y) * w
    return fixed, float(error.max())


def main() -> None:
    """Print the fits that are named, or all."""
    for name in sys.argv[1:] or FITS:
        coefficients, error = fit(FITS[name])
        print(f"{name}: error {error:.1e}")
        for c in reversed(coefficients):
            print(f"    {np.float32(c)!s}f")


if __name__ == "__main__":
    main()
