"""Laziness: nothing runs until somebody looks, plans are replayed, long graphs do not recurse."""

from __future__ import annotations

import gc
import shutil

import numpy as np
import pytest

import clnet as cn
from clnet.engine.graph import Graph
from clnet.engine.plan import Plan
from clnet.engine.run import engine, target


def tasks(*tensors: cn.Tensor) -> list[str]:
    """The labels of the launches that computing these tensors takes."""
    graph = Graph([t.node for t in tensors]).opened()[0]
    return [task.label for task in Plan(graph, target(cn.device())).tasks]


def test_values_are_computed_when_looked_at() -> None:
    y = cn.tensor([1.0, 2.0]) * 3
    assert y.node.buffer is None
    assert y.tolist() == [3.0, 6.0]
    assert y.node.buffer is not None
    assert y.node.inputs == ()


def test_eval_computes_all_in_one_plan() -> None:
    x = cn.tensor([1.0, 2.0])
    a, b = x.exp(), x * 2
    before = engine.hits + engine.misses
    cn.eval(a, b)
    assert engine.hits + engine.misses == before + 1
    assert a.node.buffer is not None
    assert b.node.buffer is not None


def test_equal_structures_share_a_plan() -> None:
    def run(lr: float, start: int) -> list[float]:
        x = cn.arange(12).float()
        cn.eval(x)
        part = x[start : start + 3]
        return (part - part * lr).tolist()

    run(0.5, 0)
    misses = engine.misses
    # Neither the value of a scalar nor the place of a slice in its buffer is part of the key.
    assert run(0.25, 4) == [3.0, 3.75, 4.5]
    assert engine.misses == misses


def test_shapes_dtypes_and_kept_values_are_part_of_the_key() -> None:
    def key(x: cn.Tensor, hold: bool) -> object:
        y = x + 1
        z = y * 2
        if not hold:
            del y
        return Graph([z.node]).key

    x = cn.ones(3) * 1
    cn.eval(x)
    assert key(x, True) == key(x, True)
    keys = {key(x, True), key(x, False), key(x[:2], False), key(x.double(), False)}
    assert len(keys) == 4


def test_chains_fuse_and_shared_values_are_computed_once() -> None:
    x = cn.tensor([1.0, 2.0, 3.0])
    # Results are named first: pytest's assert would hold every value inside its expression.
    chain = (x * 2 + 1).tanh()
    assert tasks(chain) == ["mul add tanh"]
    y = x.exp()
    both = y * y + y
    assert tasks(both) == ["exp mul add"]  # y is held: the same kernel writes it, too
    assert len(Plan(Graph([both.node]).opened()[0], target(cn.device())).results) == 2
    del y
    assert (
        len(Plan(Graph([both.node]).opened()[0], target(cn.device())).results) == 1
    )  # not any more
    shifted = cn.zeros(3) + x
    assert tasks(shifted) == ["add"]  # constants are arguments


def test_views_launch_nothing() -> None:
    x = cn.arange(24).float().reshape(2, 3, 4)
    cn.eval(x)
    y = x.permute(2, 0, 1)[1:, :, ::2].unsqueeze(1)
    assert tasks(y) == []
    want = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[1:, :, ::2][:, None]
    np.testing.assert_array_equal(y.numpy(), want)


def test_a_hundred_thousand_nodes_do_not_recurse() -> None:
    x = cn.tensor(0.5, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = -y
    y.backward()
    assert y.item() == 0.5
    assert x.grad is not None
    assert x.grad.item() == 1.0
    del y
    gc.collect()


def test_a_running_total_is_evaluated_by_itself() -> None:
    one, total = cn.tensor(1.0), cn.tensor(0.0)
    for _ in range(12_000):
        total = total + one
    assert total.node.depth <= 5000
    assert total.item() == 12_000


def test_loss_and_gradients_are_computed_by_one_plan() -> None:
    x = cn.randn(4, 3)
    w = cn.randn(3, 2, requires_grad=True)
    loss = ((x @ w).tanh() ** 2).sum()
    loss.backward()
    before = engine.hits + engine.misses
    loss.item()
    assert w.grad is not None
    w.grad.numpy()
    assert engine.hits + engine.misses == before + 1


def test_looking_at_the_loss_first_keeps_what_backward_needs() -> None:
    x = cn.randn(4, 3)
    w = cn.randn(3, 2, requires_grad=True)
    hidden = x @ w
    loss = (hidden.tanh() ** 2).sum()
    del hidden
    loss.item()
    loss.backward()
    assert w.grad is not None
    # The forward product is there already: only the gradient's own product is left.
    assert sum("matmul" in label for label in tasks(w.grad)) == 1


def test_a_training_loop_holds_memory_flat_and_plans_once() -> None:
    w = cn.randn(8, 8, requires_grad=True)
    x = cn.randn(4, 8)
    seen = []
    for step in range(300):
        w.grad = None
        ((x @ w) ** 2).mean().backward()
        assert w.grad is not None
        with cn.no_grad():
            w.sub_(0.01 * w.grad)
        cn.eval(w)
        if step in (10, 299):
            gc.collect()  # what earlier tests left must not count
            seen.append((cn.memory_stats()["in_use"], engine.misses))
    assert seen[0] == seen[1]


def test_eager_equals_lazy_bit_for_bit() -> None:
    x = cn.randn(64)

    def f() -> cn.Tensor:
        return ((x * 1.7 + 0.3).tanh() * x.exp() - x.square()).sum()

    lazy = f().item()
    with cn.eager():
        y = f()
        assert y.node.buffer is not None
    assert y.item() == lazy


def test_explain_and_draw_compute_nothing() -> None:
    x = cn.tensor([1.0, 2.0])
    y = (x * 2).tanh()
    text = cn.explain(y)
    assert "[mul tanh]" in text
    assert "#define BODY" in text
    source = cn.draw(y)
    assert "tanh" in source
    assert source.startswith("digraph")
    assert y.node.buffer is None


def test_draw_svg_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(cn.ClnetError, match="graphviz"):
        cn.draw_svg(cn.ones(2) + 1)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_draw_svg_renders() -> None:
    svg = cn.draw_svg((cn.tensor([1.0]) * 2).tanh())
    assert "<svg" in svg
    assert "tanh" in svg


def test_errors_are_raised_where_the_op_is_called() -> None:
    x = cn.ones(2, 3)
    with pytest.raises(cn.ShapeError, match=r"matmul: cannot multiply float32\[2, 3\]"):
        x @ x
    with pytest.raises(cn.ShapeError, match="3 against 4 in dimension -1"):
        x + cn.ones(4)
    assert (x + 1).sum().item() == 12.0  # nothing that was computed is lost
