"""A compiled step does what the step does, bit for bit, and says what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import functional as F
from clnet import nn, optim
from clnet.engine.run import engine


def steps(compiled: bool, make: Callable[..., optim.Optimizer], dropout: float = 0.0) -> Any:
    """Train a few steps; return losses, parameters and gradients."""
    cn.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))
    optimizer = make(net.parameters())
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    def step(x: cn.Tensor, y: cn.Tensor) -> cn.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        nn.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss

    run = cn.compile(step) if compiled else step
    rng = np.random.default_rng(0)
    losses = []
    for i in range(12):
        n = 5 if i % 4 == 3 else 6  # a short last batch
        x = cn.tensor(rng.normal(size=(n, 4)).astype(np.float32))
        losses.append(run(x, cn.tensor(rng.integers(0, 3, n))).item())
        schedule.step()
    parameters = list(net.parameters())
    return (
        losses,
        [p.detach().numpy() for p in parameters],
        [p.grad.numpy() for p in parameters if p.grad is not None],
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1),
        lambda p: optim.Adam(p, lr=0.05, amsgrad=True),
        lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5),
    ],
    ids=["sgd", "momentum", "adam", "rmsprop"],
)
def test_results_are_identical(make: Callable[..., optim.Optimizer]) -> None:
    plain, replayed = steps(False, make), steps(True, make)
    assert plain[0] == replayed[0]
    for a, b in zip(plain[1] + plain[2], replayed[1] + replayed[2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_random_numbers_go_on() -> None:
    make = lambda p: optim.SGD(p, lr=0.1)  # noqa: E731
    assert steps(False, make, 0.5)[0] == steps(True, make, 0.5)[0]


def test_a_replay_plans_nothing() -> None:
    f = cn.compile(lambda x: (x * 2).tanh().sum())
    for _ in range(3):
        f(cn.ones(5))
    before = engine.hits + engine.misses
    x = cn.tensor(np.ones(5, np.float32))
    assert f(x).item() == pytest.approx(5 * np.tanh(2.0))
    assert engine.hits + engine.misses == before
    f(cn.ones(6))
    assert f(cn.ones(6)).item() == pytest.approx(6 * np.tanh(2.0))


def test_structures_of_arguments_and_results_are_kept() -> None:
    f = cn.compile(lambda pair, scale, names: {"sum": pair[0] + pair[1] * scale, "n": len(names)})
    for _ in range(3):
        out = f((np.ones(2, np.float32), cn.ones(2)), 3.0, names=("a", "b"))
        assert out["sum"].tolist() == [4.0, 4.0]
        assert out["n"] == 2
    assert f((np.ones(2, np.float32), cn.ones(2)), 2.0, names=("a",))["sum"].tolist() == [3.0, 3.0]


def test_changes_from_outside_are_seen() -> None:
    w = cn.ones(2)
    f = cn.compile(lambda x: x * w)
    for _ in range(3):
        f(cn.ones(2))
    w.assign(cn.tensor([5.0, 6.0]))
    assert f(cn.ones(2)).tolist() == [5.0, 6.0]


def test_switching_to_evaluation_records_again() -> None:
    net = nn.Dropout(0.5)
    f = cn.compile(lambda x: net(x))
    for _ in range(3):
        f(cn.ones(1000))
    net.eval()
    assert f(cn.ones(1000)).tolist() == [1.0] * 1000


def test_looking_at_a_value_is_an_error_that_loses_nothing() -> None:
    w = cn.ones(2)

    def step(x: cn.Tensor) -> float:
        w.assign(w + x)
        return w.sum().item()

    f = cn.compile(step)
    assert f(cn.ones(2)) == 4.0
    with pytest.raises(cn.ClnetError, match="return the tensor and look at it outside"):
        f(cn.ones(2))
    assert w.tolist() == [2.0, 2.0]
    assert step(cn.ones(2)) == 6.0


def test_what_cannot_be_hashed_is_named() -> None:
    with pytest.raises(cn.ClnetError, match="was given a set"):
        cn.compile(lambda x, s: x)(cn.ones(1), {1, 2})


def test_a_compiled_function_is_part_of_a_larger_one() -> None:
    inner = cn.compile(lambda x: x + 1)
    outer = cn.compile(lambda x: inner(x) * 2)
    for value in (1.0, 2.0, 3.0, 4.0):
        assert inner(cn.tensor([value])).item() == value + 1
        assert outer(cn.tensor([value])).item() == 2 * (value + 1)
