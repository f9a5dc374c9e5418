"""Every variant of the kernels against NumPy, at sizes around those of tiles, runs and chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import core
from clnet.engine.run import Engine
from clnet.ops import launch, linalg

pytestmark = pytest.mark.usefixtures("target", "no_product_is_tiny")


@pytest.fixture
def no_product_is_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let products of the smallest sizes too be those of the variants that are tested."""
    monkeypatch.setattr(linalg, "TINY", 0)


def _random(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    x = np.random.default_rng(0).normal(size=shape) * 4
    return x > 0 if dtype == "bool" else x.astype(dtype)


# --- matmul --------------------------------------------------------------------------------------
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
                a = _random((k, m) if by_columns_a else (m, k), dtype)
                b = _random((n, k) if by_columns_b else (k, n), dtype)
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
        given = [_random((m + i, k), "float64") for i in range(3)]
        w = cn.tensor(_random((n, k), "float64")).to(dtype=of)
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
            a, b = _random((m, k), dtype), _random((n, k) if turned else (k, n), dtype)
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
        x, w, b = _random((2, m, k), dtype), _random((n, k), dtype), _random((n,), dtype)
        v = _random((2, n, k), dtype)
        p, q, r = cn.tensor(x), cn.tensor(w), cn.tensor(b)
        found = [(p @ q.T + r).relu(), p[0] @ q.T, p @ cn.tensor(v).transpose(1, 2)]
        x, w, b, v = (a.astype(np.float64) for a in (x, w, b, v))
        expected = [np.maximum(x @ w.T + b, 0), x[0] @ w.T, x @ v.transpose(0, 2, 1)]
        bound = {"float32": 1e-5, "float64": 1e-13}[dtype]
        for y, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(y.numpy(), e, rtol=bound, atol=bound * 16 * k)


def test_matmul_of_batches() -> None:
    """Check batches which are broadcast, permuted, sliced and too many to merge."""
    x, y = _random((2, 3, 5, 4)), _random((3, 4, 6))
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
        x, w, b, r = (_random(s, dtype) for s in ((2, m, k), (k, n), (n,), (2, m, n)))
        y = (cn.tensor(x) @ cn.tensor(w) + cn.tensor(b)).relu() * 2 + cn.tensor(r)
        x, w, b, r = (v.astype(np.float64) for v in (x, w, b, r))
        expected = np.maximum(x @ w + b, 0) * 2 + r
        bound = {"float16": 2e-3, "float32": 1e-5}[dtype]
        scale = bound * (np.abs(expected).max() + 100)
        np.testing.assert_allclose(y.numpy(), expected, rtol=bound, atol=scale)


# --- reductions ----------------------------------------------------------------------------------
def _reductions(shape: tuple[int, ...], dims: list[Any], dtype: str = "float32") -> None:
    x = _random(shape, dtype)
    t = cn.tensor(x)
    wide = x.astype(np.float64) if x.dtype.kind == "f" else x
    cases: list[tuple[Any, Any]] = []
    for dim in dims:
        cases += [
            (t.sum(dim), wide.sum(dim)),
            (t.amax(dim), x.max(dim)),
            (t.any(dim), x.any(dim)),
        ]
    cn.eval(*(f for f, _ in cases))
    for found, expected in cases:
        given = found.numpy()
        tolerance = 2e-3 if dtype == "float16" else 1e-5
        np.testing.assert_allclose(
            given.astype(expected.dtype), expected, rtol=tolerance, atol=tolerance * 100
        )


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "bool"])
def test_reductions_over_any_dims(dtype: str) -> None:
    """Check rows, columns, both and alternating dims."""
    _reductions((3, 5, 2, 7), [(0,), (3,), (0, 2), (1, 3), (0, 1, 2, 3)], dtype)


def test_long_reductions() -> None:
    """Check reductions that are cut into chunks, whose partial results are joined."""
    _reductions((2, 70001), [1, 0, (0, 1)])
    _reductions((40001, 3), [0, 1])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "bool"])
def test_reductions_at_sizes_around_blocks(dtype: str) -> None:
    """Check rows around a vector and a block of them, columns around those of a work-group."""
    for n in (1, 15, 16, 17, 31, 63, 64, 65, 79, 80, 127, 4095, 4097, 4159, 8209):
        _reductions((3, n), [1], dtype)
    for n in (511, 513, 1023, 1024, 1031, 2048, 2049, 4099):
        _reductions((7, n), [0], dtype)
        _reductions((8, n), [0], dtype)
        _reductions((2, 73, n), [1], dtype)
    _reductions((331, 1500), [0], dtype)


def test_extremes_of_rows_and_columns_with_nan() -> None:
    """Check that NaN wins wherever it stands among vectors and rows read together."""
    x = _random((41, 1040))
    for row, column in ((0, 0), (7, 15), (8, 16), (15, 1039), (40, 1023), (33, 70)):
        x[row, column] = np.nan
    t = cn.tensor(x)
    for dim in (0, 1):
        np.testing.assert_array_equal(t.amax(dim).numpy(), x.max(dim))
        np.testing.assert_array_equal(t.amin(dim).numpy(), x.min(dim))


def test_reductions_of_views() -> None:
    """Check strides that are negative, zero, and not mergeable."""
    x = _random((6, 7, 8))
    t = cn.tensor(x)
    views = [
        (t.permute(2, 0, 1), x.transpose(2, 0, 1)),
        (t[::2, ::-1, 1:], x[::2, ::-1, 1:]),
        (t[:, :1].expand(6, 9, 8), np.broadcast_to(x[:, :1], (6, 9, 8))),
    ]
    cases = []
    for v, a in views:
        cases += [(v.sum(dim), a.astype(np.float64).sum(dim)) for dim in (0, 1, 2, (0, 2))]
        cases += [(v.argmax(dim), a.argmax(dim)) for dim in (0, 1, 2)]
        cases.append((v.argmin(), a.argmin()))
    cn.eval(*(f for f, _ in cases))
    for found, expected in cases:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-4)


def test_sums_are_compensated() -> None:
    """Check the bound that kernels/reduce.cl states, where a plain sum would lose digits."""
    n = 1 << 20
    x = np.full(n, 0.1, np.float32)
    x[::4096] = 3e4
    for view, a in [(cn.tensor(a), a) for a in (x, x.reshape(-1, 16), x.reshape(-1, 1024))]:
        found = view.sum(0).numpy().astype(np.float64)
        exact = a.astype(np.float64).sum(0)
        assert np.all(np.abs(found - exact) <= 80 * 2.0**-24 * np.abs(exact))


def test_special_values() -> None:
    """Check that NaN and infinities come through sums, extremes and positions."""
    x = np.array([[1, np.nan, 2, np.nan], [np.inf, 1, 2, 3], [np.inf, -np.inf, 0, 0]], np.float32)
    t = cn.tensor(x)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(t.sum(1).numpy(), x.sum(1))
    np.testing.assert_array_equal(t.amax(1).numpy(), x.max(1))
    np.testing.assert_array_equal(t.amin(1).numpy(), x.min(1))
    np.testing.assert_array_equal(t.argmax(1).numpy(), x.argmax(1))
    np.testing.assert_array_equal(t.argmin(1).numpy(), x.argmin(1))


def test_argmax_of_long_rows() -> None:
    """Check that the first of equal extremes wins across chunks."""
    x = np.zeros(50000, np.float32)
    x[[17, 20000, 49999]] = 1
    assert cn.tensor(x).argmax().item() == 17
    assert cn.tensor(x).argmin().item() == 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_argmax_at_sizes_around_blocks(dtype: str) -> None:
    """Check extremes that are repeated, anywhere, at sizes around those of blocks."""
    random = np.random.default_rng(0)
    for n in (255, 256, 257, 513, 1000):
        x = random.integers(0, 40, (9, n)).astype(dtype)
        np.testing.assert_array_equal(cn.tensor(x).argmax(1).numpy(), x.argmax(1))
        np.testing.assert_array_equal(cn.tensor(x).argmin(1).numpy(), x.argmin(1))
        if dtype != "int32":
            x[3, 200::50] = np.nan
            x[4] = np.inf
            x[5] = -np.inf
            np.testing.assert_array_equal(cn.tensor(x).argmax(1).numpy(), x.argmax(1))
            np.testing.assert_array_equal(cn.tensor(x).argmin(1).numpy(), x.argmin(1))


# --- scans and orders ----------------------------------------------------------------------------
def test_cumsum() -> None:
    """Check scans in one chunk and in many, along each dim."""
    shapes = [((3, 700, 2), 1), ((5000,), 0), ((2, 3, 70), 2), ((1, 300, 130), 1), ((2, 40001), 1)]
    shapes += [((9, n), 1) for n in (15, 16, 17, 257)]
    for shape, dim in shapes:
        x = _random(shape)
        expected = x.astype(np.float64).cumsum(dim)
        bound = 1e-4 + 1e-6 * np.abs(expected).max()
        found = cn.tensor(x).cumsum(dim).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int64", "uint8"])
def test_argsort_is_stable(dtype: str) -> None:
    """Check orders with many equal elements, at sizes around those of runs, both ways."""
    if dtype == "float64" and not cn.device().caps.fp64:
        pytest.skip("the device has no float64")
    random = np.random.default_rng(0)
    for shape in (
        (1, 1),
        (3, 15),
        (2, 16),
        (2, 17),
        (3, 100),
        (1, 127),
        (2, 128),
        (20, 130),
        (1, 9000),
    ):
        low = 0 if dtype == "uint8" else -5
        x = random.integers(low, 5, shape).astype(dtype)
        if x.dtype.kind == "f" and shape[1] > 20:
            # Both zeros are equal, and so are all NaNs.
            x[0, :8] = [0.0, -0.0, np.inf, -np.inf, 1e-7, -1e-7, np.nan, -np.nan]
            x[0, 8::7] = np.nan
        order = np.argsort(x, axis=-1, kind="stable")
        np.testing.assert_array_equal(cn.tensor(x).argsort().numpy(), order)
        backwards = shape[1] - 1 - np.argsort(x[:, ::-1], axis=-1, kind="stable")[:, ::-1]
        found = cn.tensor(x).argsort(descending=True).numpy()
        np.testing.assert_array_equal(found, backwards)


# --- indexing ------------------------------------------------------------------------------------
def test_take_and_segment_sum() -> None:
    """Check rows wide and narrow, negative and repeated indices, against NumPy's add.at."""
    for shape, dim in (((9, 130), 0), ((2, 6, 5), 1), ((300,), 0)):
        x = _random(shape)
        rows = shape[dim]
        index = np.random.default_rng(1).integers(-rows, rows, 40)
        t = cn.tensor(x, requires_grad=True)
        y = cn.take(t, cn.tensor(index), dim)
        expected = np.take(x, index, dim)
        np.testing.assert_array_equal(y.detach().numpy(), expected)
        d = _random(expected.shape)
        y.backward(cn.tensor(d))
        sums = np.zeros(shape)
        np.add.at(np.moveaxis(sums, dim, 0), index, np.moveaxis(d.astype(np.float64), dim, 0))
        assert t.grad is not None
        np.testing.assert_allclose(t.grad.numpy(), sums, rtol=1e-5, atol=1e-4)


def test_indices_out_of_range_read_nothing() -> None:
    """Check the documented result: NaN for floats, 0 for integers, and no gradient."""
    index = cn.tensor([0, 3, -4])
    x = cn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x.index_select(0, index)
    np.testing.assert_array_equal(y.detach().numpy(), [1, np.nan, np.nan])
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 0, 0]
    assert cn.tensor([1, 2, 3]).index_select(0, index).tolist() == [1, 0, 0]


def test_gather_and_scatter_add() -> None:
    """Check indices of as many dims, smaller than the tensor, against NumPy."""
    x = _random((4, 6, 5))
    for dim, shape in ((0, (7, 6, 5)), (1, (3, 9, 5)), (2, (4, 2, 8))):
        index = np.random.default_rng(2).integers(0, x.shape[dim], shape)
        within = x[tuple(slice(n if i != dim else None) for i, n in enumerate(shape))]
        t, at = cn.tensor(x), cn.tensor(index)
        expected = np.take_along_axis(within, index, dim)
        np.testing.assert_array_equal(t.gather(dim, at).numpy(), expected)
        sums = x.astype(np.float64)
        places = list(np.indices(shape))
        places[dim] = index
        src = _random(shape)
        np.add.at(sums, tuple(places), src)
        found = t.scatter_add(dim, at, cn.tensor(src)).numpy()
        np.testing.assert_allclose(found, sums, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_scatter_add_along_dims_of_many_sizes(dtype: str) -> None:
    """Check sums of few and of many elements each, beside one neighbour and many."""
    random = np.random.default_rng(0)
    for shape, dim in (((5, 700), 1), ((700, 35), 0), ((3, 40, 16), 1), ((60000, 3), 0)):
        x = random.integers(-9, 9, shape).astype(dtype)
        index = random.integers(0, shape[dim], shape) // 3
        sums = np.zeros(shape, dtype)
        places = list(np.indices(shape))
        places[dim] = index
        np.add.at(sums, tuple(places), x)
        zeros = cn.tensor(np.zeros(shape, dtype))
        found = zeros.scatter_add(dim, cn.tensor(index), cn.tensor(x)).numpy()
        np.testing.assert_array_equal(found, sums)


# --- counting in long ----------------------------------------------------------------------------
def test_long_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the kernels as they are built for buffers of 2^31 elements and more."""
    monkeypatch.setattr(launch, "INT_REACH", 0)
    x = _random((33, 40))
    t = cn.tensor(x)
    index = cn.tensor([5, -1])
    cases = [
        (t @ t.T, x @ x.T),
        (t.sum(0), x.sum(0)),
        (t.sum(1), x.sum(1)),
        (t.argmax(1), x.argmax(1)),
        (t.cumsum(1), x.cumsum(1)),
        (t.argsort(), x.argsort()),
        (t.index_select(0, index), x[[5, -1]]),
        (t.gather(1, t.argsort()), np.sort(x, 1)),
        (cn.zeros(9, 40).index_add(0, index, t[:2])[[5, 8]], x[:2]),
        (cn.cat([t, t]), np.concatenate([x, x])),
    ]
    for found, expected in cases:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-3)
    assert cn.rand(5).max().item() < 1


def test_matmul_of_16_bits_and_many_steps() -> None:
    """Check a product that a work-group packs whole in k, far deeper than its blocks are wide."""
    k = 300_000
    x = cn.full((3, k), 0.5, dtype=cn.float16)
    y = cn.full((k, 20), 2.0**-10, dtype=cn.float16)
    np.testing.assert_array_equal((x @ y).numpy(), np.full((3, 20), np.float16(k * 2.0**-11)))


# --- a small pass for Oclgrind -------------------------------------------------------------------
@pytest.mark.oclgrind
def test_one_of_each_variant(target: str) -> None:
    """Run each kernel once, small, so that Oclgrind sees its memory accesses and barriers."""
    # With fewer than 16 columns no panel is transposed by shuffles, which Oclgrind misjudges.
    a, b = _random((19, 15)), _random((15, 35))
    x = cn.tensor(a)
    index = cn.tensor([2, -1, 2])
    results = [
        (x @ cn.tensor(b), a @ b),
        (x.T @ x, a.T @ a),
        (cn.tensor(a.astype("int32")) @ cn.tensor(b.astype("int32")), None),
        (x.sum(), a.sum()),
        (x.sum(0), a.sum(0)),
        (cn.tensor(_random((2, 2, 70))).amax(2), _random((2, 2, 70)).max(2)),
        (x.all(1), a.all(1)),
        (x.argmax(1), a.argmax(1)),
        (cn.tensor(_random((2, 300))).argmin(1), _random((2, 300)).argmin(1)),
        (x.cumsum(0), a.cumsum(0)),
        (cn.tensor(_random((2, 35))).cumsum(1), _random((2, 35)).cumsum(1)),
        (x.argsort(), a.argsort(kind="stable")),
        (cn.tensor(_random((2, 130))).argsort(), _random((2, 130)).argsort(kind="stable")),
        (x.index_select(0, index), a[[2, -1, 2]]),
        (x.gather(1, x.argsort()), np.sort(a, 1)),
        (cn.zeros(4, 15).index_add(0, cn.tensor([2, 3, 2]), x[:3]), None),
        (cn.zeros(19, 15).scatter_add(1, x.argsort(), x), None),
        (cn.cat([x, x[:, ::2]], 1), np.concatenate([a, a[:, ::2]], 1)),
        (cn.randn(7), None),
        (cn.rand(7), None),
        (cn.randint(9, (3,)), None),
    ]
    for found, expected in results:
        if expected is not None:
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-3)
        else:
            found.numpy()
    engine = core.runtime
    assert isinstance(engine, Engine)
    tasks = [t for program in engine._programs.values() for t in program.plan.tasks]
    assert ("matmul_tiled" in {t.launch.entry for t in tasks}) == (target == "gpu")
