"""Fused rows and columns, stored chains, gathered launches: as CPUs and GPUs run them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import clnet as cn
from clnet import functional as F

FUNCTIONS: dict[str, Callable[[cn.Tensor], cn.Tensor]] = {
    "softmax": lambda x: cn.softmax(x, -1),
    "layer norm": lambda x: F.layer_norm(x, (x.shape[-1],)),
    "mean of squares": lambda x: (x * x).mean(),
    "rows and their sums": lambda x: (x - x.amax(-1, keepdim=True)).exp().sum(-1) + 1,
    "of transposed": lambda x: cn.softmax(x.transpose(0, 1), -1),
    "columns": lambda x: (x * x + x[:1]).sum(0),
    "columns of three dims": lambda x: (x[:, :4].reshape(-1, 2, 2) * x[0, 0]).amax((0, 1)),
    "stored product": lambda x: ((x.T[:5] @ x[:, :3]) + x[0, :3]).tanh() * 2,
    "many": lambda x: cn.stack([(x[i] * x[i] + x[i]).sum() for i in range(3)]),
}


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """Return the result in float64."""
    x = x.astype(np.float64)
    e = np.exp(x - x.max(-1, keepdims=True))
    t = np.exp(x.T - x.T.max(-1, keepdims=True))
    results = {
        "softmax": lambda: e / e.sum(-1, keepdims=True),
        "layer norm": lambda: (
            (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        ),
        "mean of squares": lambda: np.asarray((x * x).mean()),
        "rows and their sums": lambda: e.sum(-1) + 1,
        "columns": lambda: (x * x + x[:1]).sum(0),
        "columns of three dims": lambda: (x[:, :4].reshape(-1, 2, 2) * x[0, 0]).max((0, 1)),
        "of transposed": lambda: t / t.sum(-1, keepdims=True),
        "stored product": lambda: np.tanh((x.T[:5] @ x[:, :3]) + x[0, :3]) * 2,
        "many": lambda: (x * x + x).sum(-1)[:3],
    }
    return np.asarray(results[name]())


@pytest.mark.oclgrind
@pytest.mark.parametrize("shape", [(3, 7), (5, 70), (9, 130)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_agrees_with_float64(name: str, shape: tuple[int, int], target: str) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    got = FUNCTIONS[name](cn.tensor(x)).numpy()
    np.testing.assert_allclose(got, exact(name, x), rtol=2e-5, atol=2e-6)


def test_one_long_row_is_shared_out(target: str) -> None:
    x = np.random.default_rng(0).normal(size=100_003).astype(np.float32)
    got = (cn.tensor(x) * 2).square().sum().item()
    assert got == pytest.approx(np.sum((x.astype(np.float64) * 2) ** 2), rel=1e-6)
