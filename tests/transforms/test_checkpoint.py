"""checkpoint: results and gradients of the function itself, from less memory."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import functional as F
from clnet import nn

W = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


def leaf(*shape: int) -> cn.Tensor:
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    return cn.tensor(values.astype(np.float32), requires_grad=True)


def one(x: cn.Tensor, y: cn.Tensor, w: cn.Tensor) -> Any:
    return cn.tanh(x @ w) + y


def two(x: cn.Tensor, y: cn.Tensor, w: cn.Tensor) -> Any:
    h = cn.tanh(x @ w)
    return h * y, h + x


def unused(x: cn.Tensor, y: cn.Tensor, w: cn.Tensor) -> Any:
    return cn.tanh(x @ w), (y * 2).detach(), cn.arange(3)


def passed_on(x: cn.Tensor, y: cn.Tensor, w: cn.Tensor) -> Any:
    return {"x": x, "twice": (y, y), "w": w.sum()}


def dropped(x: cn.Tensor, y: cn.Tensor, w: cn.Tensor) -> Any:
    return F.dropout(x @ w, 0.5) * cn.rand(3, 4), F.dropout(y, 0.5)


def scored(x: cn.Tensor, y: cn.Tensor, w: cn.Tensor) -> Any:
    return F.cross_entropy(x @ w, cn.tensor([1, 0, 3])) * y.sum() * 1.5


CASES: dict[str, Any] = {f.__name__: f for f in (one, two, unused, passed_on, dropped, scored)}


def leaves(tree: Any) -> list[cn.Tensor]:
    if isinstance(tree, cn.Tensor):
        return [tree]
    members = tree.values() if isinstance(tree, dict) else tree
    return [t for m in members for t in leaves(m)]


def pulled(function: Callable[..., Any], checkpointed: bool, closed: bool) -> list[Any]:
    cn.manual_seed(5)
    x, y, w = leaf(3, 4), leaf(3, 4), cn.tensor(W, requires_grad=True)
    call = cn.checkpoint if checkpointed else lambda f, *args: f(*args)
    # The weights as an argument, or closed over as a module's are.
    out = call(lambda x, y: function(x, y, w), x, y) if closed else call(function, x, y, w)
    results = leaves(out)
    (sum((t * t).sum() for t in results if t.requires_grad) + x.sum()).backward()
    grads = [t.grad.numpy() if t.grad is not None else None for t in (x, y, w)]
    return [*(t.detach().numpy() for t in results), *grads, [t.requires_grad for t in results],
            cn.rand(3).tolist()]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("closed", [False, True])
def test_results_and_gradients_are_the_same(case: str, closed: bool) -> None:
    plain = pulled(CASES[case], False, closed)
    for _ in range(3):
        for a, b in zip(pulled(CASES[case], True, closed), plain, strict=True):
            assert (a is None) == (b is None)
            np.testing.assert_array_equal(a, b)


def test_no_more_plans_are_made_for_what_was_seen() -> None:
    misses = []
    for _ in range(4):
        pulled(two, True, True)
        misses.append(cn.engine_stats()["misses"])
    assert misses[-1] == misses[1]


def test_the_values_are_those_of_then() -> None:
    w = cn.tensor(W, requires_grad=True)
    x = leaf(3, 4)
    y = cn.checkpoint(lambda x: cn.exp(x @ w), x).sum()
    wanted = np.exp(x.detach().numpy() @ W) @ W.T
    with cn.no_grad():
        w.zero_()
    y.backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), wanted, rtol=1e-4)


def test_second_derivatives_and_transforms() -> None:
    x = leaf(3, 4).detach()

    def curved(call: Any) -> Any:
        def f(w: cn.Tensor) -> cn.Tensor:
            h, y = call(two, x, x + 1, w)
            return (h * y).sum()

        first, second = cn.grad(f), cn.grad(lambda w: (cn.grad(f)(w) ** 2).sum())
        return first(cn.tensor(W)).numpy(), second(cn.tensor(W)).numpy()

    for a, b in zip(curved(cn.checkpoint), curved(lambda f, *args: f(*args)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_nested_and_sequential() -> None:
    net = nn.Sequential(*(m for _ in range(5) for m in (nn.Linear(4, 4), nn.Tanh())))
    x = leaf(3, 4)
    output = net(x)
    cn.eval(output)  # as checkpoint does: GPUs add in another order what is one kernel
    wanted = output.sum()
    wanted.backward()
    grads = [p.grad.numpy() for p in net.parameters()]
    for call in (
        lambda x: cn.checkpoint_sequential(net, 3, x),
        lambda x: cn.checkpoint(lambda x: cn.checkpoint(net, x), x),
    ):
        net.zero_grad()
        found = call(x).sum()
        found.backward()
        assert found.item() == wanted.item()
        for p, g in zip(net.parameters(), grads, strict=True):
            np.testing.assert_array_equal(p.grad.numpy(), g)


@pytest.mark.parametrize("context", [cn.no_grad, cn.eager, cn.detect_anomaly])
def test_contexts(context: Any) -> None:
    x = leaf(3, 4)
    with context():
        y = cn.checkpoint(lambda x: cn.tanh(x), x)
    np.testing.assert_allclose(y.detach().numpy(), np.tanh(x.detach().numpy()), rtol=1e-6)
    assert y.requires_grad == (context is not cn.no_grad)


def test_hooks_and_retained_gradients_of_results() -> None:
    x = leaf(3)
    y, z = cn.checkpoint(lambda x: (cn.exp(x), x * 2), x)
    y.retain_grad()
    y.register_hook(lambda d: d * 2)
    (y * 3 + z).sum().backward()
    assert x.grad is not None and y.grad is not None
    np.testing.assert_array_equal(y.grad.numpy(), [6, 6, 6])
    np.testing.assert_allclose(x.grad.numpy(), 6 * np.exp(x.detach().numpy()) + 2, rtol=1e-6)


def test_a_second_backward_needs_a_kept_graph() -> None:
    x = leaf(3)
    y = cn.checkpoint(lambda x: cn.exp(x), x).sum()
    y.backward(retain_graph=True)
    first = x.grad.numpy() if x.grad is not None else None
    x.grad = None
    y.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), first)
    with pytest.raises(cn.GradientError, match="given up"):
        y.backward()


def peak(train: Callable[[], cn.Tensor]) -> int:
    """Return the bytes that a step of training takes at most, besides what exists already."""
    train()  # kernels are compiled and plans made
    gc.collect()
    memory = cn.device().memory
    before = memory._peak = memory.in_use
    train().item()
    return int(memory._peak - before)


def test_memory_over_time_is_linear_and_about_a_root_with_segments() -> None:
    b, h = 64, 64
    cell = nn.RNNCell(1, h)
    x = cn.randn(1024, b, 1)
    cn.eval(x, *cell.parameters())

    def train(time: int, segments: int) -> Callable[[], cn.Tensor]:
        def step() -> cn.Tensor:
            cell.zero_grad()
            # A cell that no kernel is known of.
            last = cn.fold(lambda x, s: cell(x, s), x[:time], cn.zeros(b, h), segments=segments)
            loss = (last * last).sum()
            loss.backward()
            cn.eval(*(p.grad for p in cell.parameters() if p.grad is not None))
            return loss

        return step

    one = b * h * 4  # bytes of one state
    line = [peak(train(time, 1)) for time in (64, 128, 256)]
    root = [peak(train(time, math.isqrt(time))) for time in (64, 256, 1024)]
    assert 1.9 < line[1] / line[0] < 2.1
    assert 1.9 < line[2] / line[1] < 2.1
    assert line[2] / 256 < 3.5 * one
    assert all(1.5 < after / before < 2.2 for before, after in itertools.pairwise(root))
    assert root[-1] / math.isqrt(1024) < 6 * one
    assert root[-1] < line[0] * 4


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda x: cn.checkpoint(lambda x: x * x.sum().item(), x), cn.ClnetError,
         "checkpoint: the function looks at a value"),
        (lambda x: cn.checkpoint(lambda x: x.detach().add_(1), x), cn.ClnetError, "in place"),
        (lambda x: cn.checkpoint(cn.no_grad()(lambda x: x * 2), x), cn.ClnetError, "gradients"),
        (lambda x: cn.checkpoint_sequential([cn.tanh], 2, x), ValueError, "segments=2; needs 1"),
        (lambda x: cn.checkpoint_sequential([cn.tanh], 0, x), ValueError, "segments=0; needs 1"),
    ],
)  # fmt: skip
def test_errors(wrong: Any, error: type[Exception], message: str) -> None:
    used = cn.get_rng_state().tolist()
    with pytest.raises(error, match=message):
        wrong(leaf(3))
    assert cn.get_rng_state().tolist() == used
