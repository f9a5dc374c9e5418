"""Products against NumPy, at sizes around those of tiles and chunks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import clnet as cn
from clnet import core
from clnet.engine import run
from clnet.ops import linalg
from tests.kernels.operands import random

pytestmark = pytest.mark.usefixtures("target", "no_product_is_tiny")


@pytest.fixture
def no_product_is_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let products of the smallest sizes too be those of the variants that are tested."""
    monkeypatch.setattr(linalg, "TINY", 0)


SIZES = [(1, 1, 1), (7, 31, 5), (16, 32, 256), (33, 65, 300), (130, 70, 40), (3, 260, 17)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_matmul_of_transposed_operands(dtype: str) -> None:
    """Check products of operands stored by rows and by columns, at sizes around those of tiles."""
    if dtype == "float64" and not cn.device().caps.fp64:
        pytest.skip("the device has no float64")
    expected, found = [], []
    for m, n, k in SIZES if dtype == "float32" else SIZES[1:4]:
        for by_columns_a in (False, True):
            for by_columns_b in (False, True):
                a = random((k, m) if by_columns_a else (m, k), dtype)
                b = random((n, k) if by_columns_b else (k, n), dtype)
                x, y = cn.tensor(a), cn.tensor(b)
                found.append((x.T if by_columns_a else x) @ (y.T if by_columns_b else y))
                wide = np.float64 if a.dtype.kind == "f" else np.int64
                a, b = a.astype(wide), b.astype(wide)
                expected.append((a.T if by_columns_a else a) @ (b.T if by_columns_b else b))
    cn.eval(*found)
    tolerance = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-12, "int32": 0}[dtype]
    for y, e in zip(found, expected, strict=True):
        # The error of a sum of products is relative to their absolute sum.
        bound = tolerance * (np.abs(e).max() + np.sqrt(e.size) + 100)
        np.testing.assert_allclose(y.numpy().astype(e.dtype), e, rtol=tolerance, atol=bound)


@pytest.mark.parametrize("target", ["cpu"], indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_matmul_by_a_matrix_that_is_used_again(dtype: str) -> None:
    """Check products of several values with one matrix, which CPUs pack once for all of them."""
    if dtype == "float64" and not cn.device().caps.fp64:
        pytest.skip("the device has no float64")
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-5, "float64": 1e-12}[dtype]
    of = getattr(cn, dtype)
    for m, n, k in [*SIZES[:5], (1, 31, 600), (64, 33, 257)]:
        given = [random((m + i, k), "float64") for i in range(3)]
        w = cn.tensor(random((n, k), "float64")).to(dtype=of)
        xs = [cn.tensor(x).to(dtype=of) for x in given]
        found = [xs[0] @ w.T, xs[1] @ w.T, (xs[2] @ w.T).relu(), xs[0][:, : k // 2] @ w.T[: k // 2]]
        cn.eval(*found)
        a, b = [x.double().numpy() for x in xs], w.double().numpy().T
        expected = [a[0] @ b, a[1] @ b, np.maximum(a[2] @ b, 0), a[0][:, : k // 2] @ b[: k // 2]]
        for y, e in zip(found, expected, strict=True):
            bound = tolerance * (np.abs(e).max(initial=0) + np.sqrt(e.size) + 100)
            np.testing.assert_allclose(y.double().numpy(), e, rtol=tolerance, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_matmul_of_whole_tiles_and_of_slices(dtype: str) -> None:
    """Check products of no rest, whose tiles need no bounds, and those that are cut along k."""
    for m, n, k in ((64, 64, 32), (128, 128, 96), (64, 64, 1024), (64, 64, 1040), (20, 17, 1100)):
        for turned in (False, True):
            a, b = random((m, k), dtype), random((n, k) if turned else (k, n), dtype)
            x, y = cn.tensor(a), cn.tensor(b)
            found = (x @ (y.T if turned else y)).numpy()
            wide = np.float64 if dtype == "float32" else np.int64
            expected = a.astype(wide) @ (b.T if turned else b).astype(wide)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.sqrt(k) * 16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul_of_few_rows(dtype: str) -> None:
    """Check inner products at sizes around those of tiles, and what is applied to them."""
    if dtype == "float64" and not cn.device().caps.fp64:
        pytest.skip("the device has no float64")
    for m, n, k in ((1, 1, 64), (3, 5, 79), (4, 8, 80), (5, 33, 81), (64, 67, 130), (2, 129, 200)):
        x, w, b = random((2, m, k), dtype), random((n, k), dtype), random((n,), dtype)
        v = random((2, n, k), dtype)
        p, q, r = cn.tensor(x), cn.tensor(w), cn.tensor(b)
        found = [(p @ q.T + r).relu(), p[0] @ q.T, p @ cn.tensor(v).transpose(1, 2)]
        x, w, b, v = (a.astype(np.float64) for a in (x, w, b, v))
        expected = [np.maximum(x @ w.T + b, 0), x[0] @ w.T, x @ v.transpose(0, 2, 1)]
        bound = {"float32": 1e-5, "float64": 1e-13}[dtype]
        for y, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(y.numpy(), e, rtol=bound, atol=bound * 16 * k)


@pytest.mark.oclgrind
@pytest.mark.parametrize("target", ["cpu"], indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul_turned(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check products computed transposed, with batches and with what is applied to them."""
    if dtype == "float64" and not cn.device().caps.fp64:
        pytest.skip("the device has no float64")
    tiles = {"matmul_blocked": {"tile_m": 6, "tile_n": 16}, "matmul_dots": {"rows": 4}}
    real = run.target
    monkeypatch.setattr(run, "target", lambda on: replace(real(on), tuning=tiles))
    monkeypatch.setattr(core, "runtime", run.Engine())
    monkeypatch.setattr(linalg, "TURNED_STEPS", 1)
    bound = {"float32": 1e-5, "float64": 1e-13}[dtype]
    short = cn.device().platform == "Oclgrind"  # which loses track in the shuffles of long ones
    for m, n, k in ((13, 61, 9), (16, 64, 8), (14, 70, 300), (16, 67, 513))[: 2 if short else 4]:
        x, w = random((2, m, k), dtype), random((2, n, k), dtype)
        b, r = random((n,), dtype), random((2, m, n), dtype)
        p, q = cn.tensor(x), cn.tensor(w)
        found = [p @ q.transpose(1, 2), (p @ q.transpose(1, 2) + cn.tensor(b)) * cn.tensor(r)]
        found.append(p[1] @ cn.tensor(w[0]).T)
        text = cn.explain(*found)
        assert "TURNED 1" in text
        assert "TURNED 0" not in text
        x, w, b, r = (v.astype(np.float64) for v in (x, w, b, r))
        y = x @ w.transpose(0, 2, 1)
        for f, e in zip(found, [y, (y + b) * r, x[1] @ w[0].T], strict=True):
            np.testing.assert_allclose(f.numpy(), e, rtol=bound, atol=bound * 64 * k)


def test_matmul_of_batches() -> None:
    """Check batches which are broadcast, permuted, sliced and too many to merge."""
    x, y = random((2, 3, 5, 4)), random((3, 4, 6))
    a, b = cn.tensor(x), cn.tensor(y)
    cases = [
        (a @ b, x @ y),
        (a.permute(1, 0, 2, 3) @ b.unsqueeze(1), x.transpose(1, 0, 2, 3) @ y[:, None]),
        (a[:, ::2, :, 1:] @ b[::2, 1:], x[:, ::2, :, 1:] @ y[::2, 1:]),
        (a.flip(3) @ b.flip(1), x @ y),
        (a @ b[0], x @ y[0]),
        (a @ b[0, :, 0], x @ y[0, :, 0]),
        (a[0, 0, 0] @ b, x[0, 0, 0] @ y),
        (
            a.reshape(2, 1, 3, 5, 4).expand(2, 2, 3, 5, 4) @ b.unsqueeze(0),
            np.broadcast_to(x[:, None], (2, 2, 3, 5, 4)) @ y,
        ),
    ]
    cn.eval(*(f for f, _ in cases))
    for found, expected in cases:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_matmul_stores_a_chain(dtype: str) -> None:
    """Check bias, activation and residual, also where GPUs join parts of a long product."""
    for m, n, k in SIZES if dtype == "float32" else SIZES[1:3]:
        x, w, b, r = (random(s, dtype) for s in ((2, m, k), (k, n), (n,), (2, m, n)))
        y = (cn.tensor(x) @ cn.tensor(w) + cn.tensor(b)).relu() * 2 + cn.tensor(r)
        x, w, b, r = (v.astype(np.float64) for v in (x, w, b, r))
        expected = np.maximum(x @ w + b, 0) * 2 + r
        bound = {"float16": 2e-3, "float32": 1e-5}[dtype]
        scale = bound * (np.abs(expected).max() + 100)
        np.testing.assert_allclose(y.numpy(), expected, rtol=bound, atol=scale)
