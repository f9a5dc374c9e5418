"""Sparse gradients of embeddings: their rows, what optimizers make of them, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import functional as F
from clnet import nn, optim
from clnet.ops.sparse import SparseTensor

INDICES = [[[1, 3], [3, 6]], [[0, 6], [6, 6]], [[2, 1], [1, 1]], [[5, 5], [5, 5]]]


def tables(**options: Any) -> tuple[nn.Embedding, nn.Embedding]:
    sparse, dense = nn.Embedding(8, 3, sparse=True, **options), nn.Embedding(8, 3, **options)
    dense.load_state_dict(sparse.state_dict())
    return sparse, dense


def loss(table: nn.Embedding, indices: Any) -> cn.Tensor:
    y = table(cn.tensor(indices))
    return (y * y * y).sum()


def grad_of(table: nn.Embedding) -> Any:
    assert table.weight.grad is not None
    return table.weight.grad


def test_a_gradient_holds_the_rows_looked_up() -> None:
    sparse, dense = tables()
    for table in (sparse, dense):
        loss(table, INDICES[0]).backward()
    g = grad_of(sparse)
    assert isinstance(g, SparseTensor) and g.is_sparse
    assert g.indices().tolist() == [[1, 3, 3, 6]]
    rows = sparse.weight.detach().numpy()[[1, 3, 3, 6]]
    np.testing.assert_allclose(g.values().numpy(), 3 * rows**2, rtol=1e-5)
    assert (g.shape, g.dtype, g.ndim) == ((8, 3), cn.float32, 2)
    for same in (g.to_dense(), g, g * 1):
        np.testing.assert_allclose(same.numpy(), grad_of(dense).numpy(), rtol=1e-6)
    index, values = g.coalesced()
    assert index.tolist() == [1, 3, 6, 8]
    sums = np.stack([3 * rows[0] ** 2, 6 * rows[1] ** 2, 3 * rows[3] ** 2, 0 * rows[0]])
    np.testing.assert_allclose(values.numpy(), sums, rtol=1e-5)


def test_gradients_add_up() -> None:
    """Of two look-ups, of two backward passes, and with a dense use of the same weight."""
    sparse, dense = tables(padding_idx=2)
    for table in (sparse, dense):
        (loss(table, INDICES[0]) + 2 * loss(table, INDICES[2])).backward()
        loss(table, INDICES[1]).backward()
    assert grad_of(sparse).indices().shape == (1, 12)
    np.testing.assert_allclose(grad_of(sparse).numpy(), grad_of(dense).numpy(), rtol=1e-5)
    assert not grad_of(sparse).numpy()[2].any()
    for order in ((0, 1), (1, 0)):
        for table in (sparse, dense):
            table.zero_grad()
            terms = [loss(table, INDICES[0]), (table.weight**2).sum()]
            for i in order:
                terms[i].backward()
        assert not isinstance(grad_of(sparse), SparseTensor)
        np.testing.assert_allclose(grad_of(sparse).numpy(), grad_of(dense).numpy(), rtol=1e-5)
    for table in (sparse, dense):
        table.zero_grad()
        (loss(table, INDICES[0]) + (table.weight**2).sum()).backward()
    np.testing.assert_allclose(grad_of(sparse).numpy(), grad_of(dense).numpy(), rtol=1e-5)


def test_the_dense_gradient_is_not_computed_unless_asked_for() -> None:
    table = nn.Embedding(100_000, 64, sparse=True)
    cn.eval(table.weight)
    cn.synchronize()
    memory = cn.device().memory
    before = memory._peak = memory.in_use
    value = loss(table, INDICES[0])
    value.backward()
    cn.eval(value, grad_of(table).values())
    assert memory._peak - before < 100_000


def test_a_table_that_is_computed_has_a_dense_gradient() -> None:
    weight = cn.randn(8, 3).requires_grad_()
    F.embedding(cn.tensor([1, -1]), weight * 2, sparse=True).sum().backward()
    assert weight.grad is not None
    assert weight.grad.numpy()[:, 0].tolist() == [0, 2, 0, 0, 0, 0, 0, 2]
    weight.grad = None
    F.embedding(cn.tensor([1, -1]), weight, sparse=True).sum().backward()
    assert weight.grad is not None
    assert weight.grad.numpy()[:, 0].tolist() == [0, 1, 0, 0, 0, 0, 0, 1]


def test_gradients_of_functions() -> None:
    weight = cn.randn(8, 3)

    def f(w: cn.Tensor, sparse: bool) -> cn.Tensor:
        return (F.embedding(cn.tensor([1, 3, 1]), w, sparse=sparse) ** 3).sum()

    for sparse in (True, False):
        first = cn.grad(lambda w, s=sparse: f(w, s))
        second = cn.grad(lambda w, first=first: (first(w) ** 2).sum())
        wanted = np.zeros((8, 3), np.float32)
        w = weight.numpy()
        # d/dw of (n 3 w^2)^2, with n uses of the row.
        for row, n in ((1, 2), (3, 1)):
            wanted[row] = 2 * (n * 3 * w[row] ** 2) * (n * 6 * w[row])
        np.testing.assert_allclose(second(weight).numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ["SGD", "Adagrad", "SGD, maximize"])
def test_row_by_row_optimizers_make_of_sparse_gradients_what_they_make_of_dense(
    kind: str, compiled: bool
) -> None:
    name, _, option = kind.partition(", ")
    found = []
    tables_ = tables()
    start = tables_[0].weight.detach().numpy()
    for table in tables_:
        options = {"maximize": True} if option else {}
        optimizer = getattr(optim, name)(table.parameters(), lr=0.1, **options)

        def step(indices: cn.Tensor, table: Any = table, optimizer: Any = optimizer) -> cn.Tensor:
            optimizer.zero_grad()
            y = table(indices)
            value = (y * y).sum()
            value.backward()
            optimizer.step()
            return value

        run = cn.compile(step) if compiled else step
        values = [run(cn.tensor(indices)).item() for indices in INDICES]
        found.append((values, table.weight.detach().numpy()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-6)
    unused = [i for i in range(8) if i not in np.unique(INDICES)]
    assert unused
    np.testing.assert_array_equal(found[0][1][unused], start[unused])


def lazily(
    p: np.ndarray, steps: list[tuple[np.ndarray, np.ndarray]], lr: float, maximize: bool
) -> np.ndarray:
    """Return a table after steps of PyTorch's SparseAdam, by its formulas."""
    b1, b2, eps = 0.8, 0.9, 1e-8
    m, v = np.zeros_like(p), np.zeros_like(p)
    p = p.copy()
    for t, (rows, values) in enumerate(steps, 1):
        g = np.zeros_like(p)
        np.add.at(g, rows, -values if maximize else values)
        used = np.unique(rows)
        m[used] += (g[used] - m[used]) * (1 - b1)
        v[used] += (g[used] ** 2 - v[used]) * (1 - b2)
        rate = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        p[used] -= rate * m[used] / (np.sqrt(v[used]) + eps)
    return p


@pytest.mark.parametrize("maximize", [False, True])
def test_sparse_adam_touches_the_rows_used(maximize: bool) -> None:
    table = nn.Embedding(8, 3, sparse=True)
    start = table.weight.detach().numpy()
    optimizer = optim.SparseAdam(table.parameters(), lr=0.1, betas=(0.8, 0.9), maximize=maximize)
    steps = []
    for indices in INDICES:
        optimizer.zero_grad()
        # Row 5 is looked up, but its gradient is 0: its moments decay all the same.
        weights = cn.tensor([[[0.0], [0.0]], [[0.0], [0.0]]]) if 5 in indices[0] else 1.0
        (table(cn.tensor(indices)) ** 2 * weights).sum().backward()
        g = grad_of(table)
        steps.append((g.indices().numpy()[0], g.values().numpy()))
        before = table.weight.detach().numpy()
        optimizer.step()
        after = table.weight.detach().numpy()
        unused = [i for i in range(8) if i not in np.unique(indices)]
        np.testing.assert_array_equal(after[unused], before[unused])
    np.testing.assert_allclose(after, lazily(start, steps, 0.1, maximize), rtol=1e-5, atol=1e-6)
    state = optimizer.state_dict()["state"][0]
    assert set(state) == {"step", "exp_avg", "exp_avg_sq"}
    assert state["step"] == 4


def test_sparse_adam_goes_on_from_its_state() -> None:
    def run(cut: int) -> np.ndarray:
        cn.manual_seed(0)
        table = nn.Embedding(8, 3, sparse=True)
        optimizer = optim.SparseAdam(table.parameters(), lr=0.1)
        for n, indices in enumerate(INDICES):
            if n == cut:
                saved, optimizer = optimizer, optim.SparseAdam(table.parameters(), lr=0.5)
                optimizer.load_state_dict(saved.state_dict())
            optimizer.zero_grad()
            loss(table, indices).backward()
            optimizer.step()
        return table.weight.detach().numpy()

    np.testing.assert_array_equal(run(2), run(-1))


@pytest.mark.parametrize("kind", ["SGD", "Adagrad", "SparseAdam"])
def test_a_step_touches_the_rows_alone(kind: str) -> None:
    """A step copies no table, unless what it would overwrite is still to be read."""
    table = nn.Embedding(100_000, 64, sparse=True)
    optimizer = getattr(optim, kind)(table.parameters(), lr=0.1)
    for indices in INDICES:
        optimizer.zero_grad()
        loss(table, indices).backward()
        optimizer.step()
    before = table.weight.detach().numpy()
    waiting = table.weight.detach()[:8] * 2
    memory = cn.device().memory
    for holds in (True, False):
        optimizer.zero_grad()
        loss(table, INDICES[0]).backward()
        start = memory._peak = memory.in_use
        optimizer.step()
        cn.eval(table.weight)
        moved = memory._peak - start
        assert moved >= 100_000 * 64 * 4 if holds else moved < 100_000
        if holds:
            np.testing.assert_array_equal(waiting.numpy(), before[:8] * 2)
            assert (table.weight.detach().numpy()[[1, 3, 6]] != before[[1, 3, 6]]).all()
            del waiting


def test_a_compiled_step_touches_the_rows_alone() -> None:
    table = nn.Embedding(100_000, 64, sparse=True)
    optimizer = optim.SparseAdam(table.parameters(), lr=0.1)

    @cn.compile
    def step(indices: cn.Tensor) -> None:
        optimizer.zero_grad()
        (table(indices) ** 2).sum().backward()
        optimizer.step()

    for indices in INDICES:
        step(cn.tensor(indices))
    memory = cn.device().memory
    before = memory._peak = memory.in_use
    step(cn.tensor(INDICES[0]))
    assert memory._peak - before < 100_000
    assert grad_of(table).indices().tolist() == [np.ravel(INDICES[0]).tolist()]


def test_steps_with_other_numbers_of_rows_and_none() -> None:
    sparse, dense = tables()
    for table in (sparse, dense):
        optimizer = optim.SGD(table.parameters(), lr=0.1)
        for indices in ([1], [], [1, 1, 7, -1, 2], [0, 3]):
            optimizer.zero_grad()
            loss(table, np.array(indices, np.int64)).backward()
            optimizer.step()
    np.testing.assert_allclose(sparse.weight.detach().numpy(), dense.weight.detach().numpy())


def test_clipping_scales_the_rows() -> None:
    sparse, dense = tables()
    norms = []
    for table in (sparse, dense):
        loss(table, INDICES[0]).backward()
        norms.append(nn.clip_grad_norm_(table.parameters(), 0.5).item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert isinstance(grad_of(sparse), SparseTensor)
    np.testing.assert_allclose(grad_of(sparse).numpy(), grad_of(dense).numpy(), rtol=1e-5)


def stepped(kind: Any, sparse: bool = True, **options: Any) -> None:
    table = nn.Embedding(8, 3, sparse=sparse)
    optimizer = kind(table.parameters(), **options)
    loss(table, INDICES[0]).backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: stepped(optim.Adam), RuntimeError, "Adam does not support sparse gradients"),
        (lambda: stepped(optim.RMSprop), RuntimeError, "please consider SparseAdam"),
        (lambda: stepped(optim.SGD, momentum=0.9), RuntimeError, "momentum=0.9; needs both 0"),
        (lambda: stepped(optim.SGD, weight_decay=0.1), RuntimeError, "weight_decay=0.1"),
        (lambda: stepped(optim.SparseAdam, sparse=False), RuntimeError,
         r"SparseAdam: got a dense gradient float32\[8, 3\]; needs the sparse ones"),
        (lambda: stepped(optim.SparseAdam, betas=(0.9, 1.0)), ValueError, r"betas=\(0.9, 1.0\)"),
        (lambda: stepped(optim.SparseAdam, lr=-1.0), ValueError, "lr=-1.0; needs a number >= 0"),
        (lambda: F.embedding(cn.ones(2), cn.ones(3, 2), sparse=True), cn.DTypeError, "integers"),
    ],
)  # fmt: skip
def test_errors(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_a_sparse_gradient_is_not_assigned() -> None:
    table = nn.Embedding(8, 3, sparse=True)
    loss(table, INDICES[0]).backward()
    with pytest.raises(cn.GradientError, match="can only be scaled"):
        nn.clip_grad_value_(table.parameters(), 0.1)
