"""Gradients of parts are written into one tensor where they do not overlap, and added elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import clnet as cn
from clnet.core import Node
from clnet.records import OPS

WEIGHTS = np.arange(1.0, 25.0, dtype=np.float32).reshape(4, 6)

USES: dict[str, tuple[Callable[[cn.Tensor], list[cn.Tensor]], bool]] = {
    "rows": (lambda x: [x[t] for t in (0, 1, 3)], True),
    "unbind": (lambda x: list(x.unbind(1)), True),
    "split": (lambda x: list(x.split(2, 1)), True),
    "backwards": (lambda x: [x[0:2], x[3:1:-1]], True),
    "the same part": (lambda x: [x[1], x[1]], False),
    "overlapping": (lambda x: [x[0:3], x[2:4]], False),
    "interleaved": (lambda x: [x[::2], x[1::2]], False),
    "parts and the whole": (lambda x: [x[0], x * 1, x[2]], True),
    "empty": (lambda x: [x[0:0], x[1:2], x[3:]], True),
}


def ancestors(node: Node) -> list[Node]:
    seen: dict[int, Node] = {}
    stack = [node]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack.extend(node.inputs)
    return list(seen.values())


@pytest.mark.parametrize("name", USES)
def test_parts(name: str) -> None:
    use, joined = USES[name]
    x = cn.ones(4, 6, requires_grad=True)
    wanted = np.zeros((4, 6), np.float32)
    # The gradient by NumPy: each use adds its weights where the numbers say that it reads.
    numbers = use(cn.arange(24).reshape(4, 6))
    parts = use(x)
    total = cn.tensor(0.0)
    for i, (part, number) in enumerate(zip(parts, numbers, strict=True)):
        weights = WEIGHTS.reshape(-1)[number.numpy()] * (i + 1)
        np.add.at(wanted.reshape(-1), number.numpy(), weights)
        total = total + (part * cn.tensor(weights)).sum()
    total.backward()
    assert x.grad is not None
    writes = [n for n in ancestors(x.grad.node) if n.op is OPS["place"]]
    np.testing.assert_array_equal(x.grad.numpy(), wanted)
    assert (max(len(n.inputs) for n in writes) > 2) == joined


def _steps(w: cn.Tensor, x: cn.Tensor, steps: int, by_columns: bool) -> cn.Tensor:
    """Return a loss of a net that applies one matrix again and again."""
    h = x
    for _ in range(steps):
        h = (h @ (w.T if by_columns else w)).tanh()
    return (h * h).sum()


@pytest.mark.parametrize("by_columns", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_products_with_one_matrix(rows: int, by_columns: bool) -> None:
    """Check that its gradient is one product where that is less work, and the same anyway."""
    rng = np.random.default_rng(rows)
    weights, given = rng.normal(size=(6, 6)) * 0.4, rng.normal(size=(rows, 6))
    w, x = cn.tensor(weights.astype(np.float32)), cn.tensor(given.astype(np.float32))
    w.requires_grad_()
    _steps(w, x, 4, by_columns).backward()
    assert w.grad is not None
    products = [n for n in ancestors(w.grad.node) if n.op is OPS["matmul"]]
    # 4 products forward, 3 of gradients by values; joined, 1 of the gradient, or else 4.
    assert len(products) == (4 + 3 + 1 if 2 * rows <= 6 else 4 + 3 + 4)
    h = [given]
    for _ in range(4):
        h.append(np.tanh(h[-1] @ (weights.T if by_columns else weights)))
    d, wanted = 2 * h[-1], np.zeros((6, 6))
    for before, after in zip(h[-2::-1], h[:0:-1], strict=True):
        d = d * (1 - after * after)
        wanted += d.T @ before if by_columns else before.T @ d
        d = d @ (weights if by_columns else weights.T)
    np.testing.assert_allclose(w.grad.numpy(), wanted, rtol=2e-4, atol=2e-5)


def test_a_product_used_with_another_term() -> None:
    w = cn.ones(3, 3, requires_grad=True)
    x = cn.tensor([[1.0, 2.0, 3.0]])
    ((x @ w).sum() + (2 * x @ w).sum() + (w * w).sum()).backward()
    assert w.grad is not None
    wanted = 3 * np.array([1.0, 2.0, 3.0])[:, None] + np.full((3, 3), 2.0)
    np.testing.assert_array_equal(w.grad.numpy(), wanted)


def test_products_of_a_second_derivative() -> None:
    def loss(w: cn.Tensor) -> cn.Tensor:
        x = cn.tensor([[1.0, 2.0]])
        return ((x @ w @ w) ** 2).sum()

    def penalty(w: cn.Tensor) -> cn.Tensor:
        return (cn.grad(loss)(w) ** 2).sum()

    w = cn.tensor([[0.5, -0.25], [0.125, 1.0]])
    found = cn.grad(penalty)(w).numpy()
    h = 1e-2
    for i in range(2):
        for j in range(2):
            step = np.zeros((2, 2), np.float32)
            step[i, j] = h
            high, low = (penalty(w + s).item() for s in (cn.tensor(step), cn.tensor(-step)))
            assert found[i, j] == pytest.approx((high - low) / (2 * h), rel=2e-2, abs=2e-2)


def test_second_derivative() -> None:
    x = cn.tensor([1.0, 2.0, 3.0])

    def f(x: cn.Tensor) -> cn.Tensor:
        a, b, c = x.unbind(0)
        return a * b * c + a * a * a

    g = cn.grad(lambda x: cn.grad(f)(x).sum())(x)
    np.testing.assert_allclose(g.numpy(), [2 + 3 + 6, 3 + 1, 2 + 1])
