"""Calls: functions recorded once, entered as one node, against the same functions as they are."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import functional as F
from clnet import nn
from clnet.calls import CallNode, composite
from clnet.engine.graph import Graph
from clnet.errors import GradientError, ShapeError


def data(*shape: int, grad: bool = False) -> cn.Tensor:
    values = np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)
    return cn.tensor(values, requires_grad=grad)


def classes(n: int, c: int) -> cn.Tensor:
    return cn.tensor(np.random.default_rng(n).integers(0, c, n))


CASES: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]], dict[str, Any]]] = {
    "linear": (F.linear, lambda: (data(5, 3, grad=True), data(4, 3, grad=True), data(4)), {}),
    "linear of a vector": (F.linear, lambda: (data(3), data(4, 3, grad=True)), {}),
    "mse": (F.mse_loss, lambda: (data(7, grad=True), data(7)), {}),
    "mse, none": (F.mse_loss, lambda: (data(7, grad=True), data(7)), {"reduction": "none"}),
    "cross entropy": (F.cross_entropy, lambda: (data(6, 5, grad=True), classes(6, 5)), {}),
    "smoothed": (
        F.cross_entropy,
        lambda: (data(6, 5, grad=True), classes(6, 5)),
        {"label_smoothing": 0.1, "ignore_index": 2},
    ),
    "nll": (F.nll_loss, lambda: (data(6, 5, grad=True), classes(6, 5)), {"reduction": "sum"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("look_first", [False, True])
def test_a_call_computes_what_the_function_does(case: str, look_first: bool) -> None:
    function, operands, settings = CASES[case]
    found = []
    for f in (function.__wrapped__, function, function, function):  # type: ignore[attr-defined]
        given = operands()
        y = f(*given, **settings)
        if look_first:
            y.detach().numpy()
        (y * y).sum().backward()
        found.append((y.detach().numpy(), [t.grad.numpy() for t in given if t.grad is not None]))
    plain = found[0]
    assert plain[1]
    for y, gradients in found[1:]:
        np.testing.assert_array_equal(y, plain[0])
        assert len(gradients) == len(plain[1])
        for d, expected in zip(gradients, plain[1], strict=True):
            np.testing.assert_allclose(d, expected, rtol=1e-6, atol=1e-7)


def test_a_call_is_one_node_until_somebody_looks_inside() -> None:
    x, w = data(5, 3), data(4, 3)
    F.linear(x, w)
    y = F.linear(x, w)
    assert type(y.node) is CallNode
    assert "matmul" in cn.explain(y, source=False)
    assert type(y.node) is not CallNode
    np.testing.assert_array_equal(y.numpy(), F.linear(x, w).numpy())


def test_the_plan_of_a_step_is_made_once() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x, y = data(5, 3), data(5, 1)
    misses = []
    for _ in range(4):
        net.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        cn.eval(*[p.grad for p in net.parameters() if p.grad is not None])
        loss.item()
        misses.append(cn.engine_stats()["misses"])
    # The first step initialises the parameters as well.
    assert misses[-1] == misses[1]


def test_gradients_accumulate_over_calls() -> None:
    x, w, y = data(5, 3), data(4, 3, grad=True), data(5, 4)
    F.mse_loss(F.linear(x, w), y).backward()
    assert w.grad is not None
    once = w.grad.numpy()
    for _ in range(2):
        F.mse_loss(F.linear(x, w), y).backward()
    np.testing.assert_allclose(w.grad.numpy(), 3 * once, rtol=1e-6)


def test_the_graph_of_a_call_is_given_up_like_any() -> None:
    x, w = data(5, 3), data(4, 3, grad=True)
    for _ in range(2):
        loss = F.mse_loss(F.linear(x, w), data(5, 4))
        loss.backward(retain_graph=True)
        loss.backward()
        with pytest.raises(GradientError, match="given up"):
            loss.backward()


def test_hooks_and_retained_gradients_of_a_calls_result() -> None:
    x, w = data(5, 3), data(4, 3, grad=True)
    for _ in range(3):
        w.grad = None
        h = F.linear(x, w)
        h.retain_grad()
        h.register_hook(lambda d: d * 2)
        h.sum().backward()
        assert h.grad is not None and w.grad is not None
        np.testing.assert_array_equal(h.grad.numpy(), np.full((5, 4), 2, np.float32))
        np.testing.assert_allclose(w.grad.numpy()[0], 2 * x.numpy().sum(0), rtol=1e-5)


def test_second_derivatives_through_calls() -> None:
    x, t = data(5), data(5)
    for _ in range(2):
        second = cn.grad(lambda w: cn.grad(lambda v: F.mse_loss(v * x, t))(w).sum())(data(5))
        np.testing.assert_allclose(second.numpy(), 2 * x.numpy() ** 2 / 5, rtol=1e-5)


def test_operands_that_a_template_does_not_know() -> None:
    x = data(5)
    for _ in range(2):
        assert F.mse_loss(x, x).item() == 0
        assert F.mse_loss(input=x, target=x * 2).item() > 0
    for _ in range(2):
        with pytest.raises(ShapeError, match="mse_loss"):
            F.mse_loss(x, data(4))


def test_settings_that_are_equal_but_of_other_types_are_told_apart() -> None:
    scaled = composite(lambda x, *, by: x * by)
    x = cn.tensor([1, 2])
    assert scaled(x, by=1).dtype is cn.int64
    assert scaled(x, by=1.0).dtype is cn.float32


def test_values_inside_of_calls_are_freed() -> None:
    x, w = data(5, 3), data(4, 3, grad=True)
    for _ in range(3):
        h = F.linear(x, w).tanh()
        inside = weakref.ref(h.node)
        loss = F.mse_loss(h, data(5, 4))
        loss.backward()
        del h
        assert w.grad is not None
        cn.eval(loss, w.grad)
        gc.collect()
        assert inside() is None
        w.grad = None


def test_only_operands_that_gradients_flow_from_need_one() -> None:
    compared = composite(lambda x, y: (x > 0).float() * y)
    for _ in range(2):
        assert not compared(data(3, grad=True), data(3)).requires_grad
        assert compared(data(3), data(3, grad=True)).requires_grad
        with cn.no_grad():
            assert not compared(data(3), data(3, grad=True)).requires_grad


def test_results_of_one_call_that_are_held_are_computed_together() -> None:
    both = composite(lambda x: (x.exp() * 2, x.exp()))  # type: ignore[return-value]
    x = data(5)
    for _ in range(3):
        a, b = both(x)
        a.numpy()
        assert b.node.buffer is not None
        np.testing.assert_allclose(b.numpy() * 2, a.numpy(), rtol=1e-6)
        a, _ = both(x)
        np.testing.assert_allclose(a.numpy(), 2 * np.exp(x.numpy()), rtol=1e-6)


def test_a_result_that_only_others_need_is_computed_when_they_are() -> None:
    both = composite(lambda x: (x.exp() * 2, x.exp()))  # type: ignore[return-value]
    x = data(5, grad=True)
    for _ in range(3):
        a, b = both(x)
        c = b + 1
        del b
        a.detach().numpy()
        np.testing.assert_allclose(c.detach().numpy(), np.exp(x.detach().numpy()) + 1, rtol=1e-6)


def test_a_setting_that_is_a_list_is_taken_as_it_is() -> None:
    x = data(5, 3)
    for _ in range(2):
        np.testing.assert_array_equal(F.layer_norm(x, [3]).numpy(), F.layer_norm(x, (3,)).numpy())


def gradients(change: str, observed: bool) -> list[Any]:
    """Return what three steps compute, the last of which differs from the others in `change`."""
    x, y = data(5, 3), data(5, 1)
    found: list[Any] = []
    for last in (False, False, True):
        w, b = data(4, 3, grad=True), data(1, 4, grad=True)
        with cn.eager() if observed else contextlib.nullcontext():
            h = F.linear(x, w).tanh()
            loss = F.mse_loss(F.linear(h, b), y)
            if last and change == "forward computed before":
                found.append(h.detach().numpy())
            kept = [b] if last and change == "a leaf is gone" else [w, b]
            kept = [w] if last and change == "another leaf is gone" else kept
            del w, b
            loss.backward(retain_graph=True if change == "graph kept" else None)
        if last and change == "looked inside" and not observed:
            cn.explain(loss, source=False)
        leaves = [t.grad for t in kept if t.grad is not None]
        if last and change == "loss dropped":
            del loss, h
            found += [d.numpy() for d in leaves]
            continue
        if last and change == "used further":
            found += [(d * 2).sum().numpy() for d in leaves]
        if change == "graph kept":
            loss.backward()
        found += [d.numpy() for d in leaves]
        found.append(loss.detach().numpy())
    return found


@pytest.mark.parametrize(
    "change",
    [
        "none",
        "a leaf is gone",
        "another leaf is gone",
        "forward computed before",
        "graph kept",
        "looked inside",
        "loss dropped",
        "used further",
    ],
)
def test_a_loss_and_its_gradients_are_known_by_their_structure(change: str) -> None:
    wanted, found = gradients(change, True), gradients(change, False)
    assert len(wanted) == len(found)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_the_graph_of_a_step_seen_before_is_not_walked() -> None:
    x, w, y = data(5, 3), data(4, 3, grad=True), data(5, 4)
    for step in range(3):
        w.grad = None
        loss = F.mse_loss(F.linear(x, w), y)
        loss.backward()
        assert w.grad is not None
        graph = Graph.of_group([w.grad.node])
        assert graph is None or any(node is loss.node for node in graph.nodes)
        assert step == 0 or graph is not None
        assert Graph.of_group([(w.grad * 2).node]) is None
        cn.eval(w.grad)
        assert loss.node.buffer is not None
        assert w.grad.node.group is None
