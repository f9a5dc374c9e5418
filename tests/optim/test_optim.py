"""Optimizers and schedules against PyTorch's numbers, and what they keep, save and refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn, optim
from clnet.engine.run import engine
from clnet.optim import lr_scheduler

START = [1.0, -2.0, 0.5]
GRADIENTS = [[0.5, -1.0, 2.0], [-0.25, 3.0, 1.0], [1.5, 0.0, -2.0], [0.1, 0.2, 0.3]]


def leaf(data: Any, dtype: Any = cn.float64) -> cn.Tensor:
    return cn.tensor(data, dtype=dtype, requires_grad=True)


def train(optimizer: optim.Optimizer, p: cn.Tensor, steps: slice = slice(None)) -> None:
    for g in GRADIENTS[steps]:
        p.grad = cn.tensor(g, dtype=p.dtype)
        optimizer.step()


# Written down from PyTorch 2.13, in float64.
@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, [0.815, -2.22, 0.37]),
        ({"momentum": 0.9}, [0.6008, -2.4891, -0.1088]),
        ({"momentum": 0.9, "dampening": 0.5}, [0.714425, -2.0726, -0.1483]),
        ({"momentum": 0.9, "nesterov": True}, [0.45572, -2.66019, -0.17792]),
        ({"weight_decay": 0.01}, [0.811255871051, -2.211711992102, 0.3686022982005]),
        (
            {"momentum": 0.8, "weight_decay": 0.1, "nesterov": True, "maximize": True},
            [1.364724115296, -1.218982430592, 0.947232474568],
        ),
        (
            {"momentum": 0.5, "dampening": 0.25, "weight_decay": 0.1, "maximize": True},
            [1.1846492565625, -1.67956921625, 0.769631409921875],
        ),
    ],
)
def test_sgd(settings: dict[str, Any], wanted: list[float]) -> None:
    p = leaf(START)
    optimizer = optim.SGD([p], lr=0.1, **settings)
    train(optimizer, p)
    np.testing.assert_allclose(p.detach().numpy(), wanted, rtol=1e-12)
    assert p.requires_grad
    assert p.is_leaf


def test_rates_change_without_a_new_plan() -> None:
    p = leaf(START, cn.float32)
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    train(optimizer, p)
    before = engine.misses
    for group in optimizer.param_groups:
        group.update(lr=0.01, momentum=0.5)
    train(optimizer, p)
    assert engine.misses == before


def test_step_computes_loss_and_gradients_in_one_plan() -> None:
    net = nn.Linear(3, 2)
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for step in range(3):
        optimizer.zero_grad()
        loss = net(cn.ones(4, 3)).square().mean()
        loss.backward()
        evaluations = engine.hits + engine.misses
        optimizer.step()
        # The update itself is a program of its own, made in the first step.
        assert engine.hits + engine.misses == evaluations + 1 or not step
        assert loss.node.buffer is not None
    assert all(p.node.buffer is not None for p in net.parameters())


def test_groups_have_settings_of_their_own() -> None:
    a, b = leaf([1.0]), leaf([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    a.grad = b.grad = cn.ones(1, dtype=cn.float64)
    optimizer.step()
    assert (a.item(), b.item()) == (0.9, 0.5)
    c = leaf([1.0])
    optimizer.add_param_group({"params": [c], "momentum": 0.9})
    optimizer.zero_grad()
    assert a.grad is None
    c.grad = cn.ones(1, dtype=cn.float64)
    optimizer.step()
    assert (a.item(), c.item()) == (0.9, 0.9)
    optimizer.zero_grad(set_to_none=False)
    assert c.grad.item() == 0
    assert "Parameter Group 2" in repr(optimizer)
    assert "lr: 0.5" in repr(optimizer)


def test_closure_computes_the_gradient() -> None:
    p = leaf([2.0])
    optimizer = optim.SGD([p], lr=0.25)

    def closure() -> cn.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert p.item() == 1.0


def test_saved_state_goes_on_bit_identically() -> None:
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    p, q = leaf(START, cn.float32), leaf(START, cn.float32)
    whole, first = optim.SGD([p], **settings), optim.SGD([q], **settings)
    train(whole, p)
    train(first, q, slice(0, 2))
    state = first.state_dict()
    assert state["param_groups"][0]["params"] == [0]
    r = leaf(q.tolist(), cn.float32)
    second = optim.SGD([r], lr=7.0)
    second.load_state_dict(state)
    train(first, q, slice(2, 3))  # must not reach into what was loaded
    train(second, r, slice(2, 4))
    np.testing.assert_array_equal(r.detach().numpy(), p.detach().numpy())


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: optim.SGD([], 0.1), ValueError, "SGD: optimizer got an empty parameter list"),
        (lambda: optim.SGD(leaf([1.0]), 0.1), TypeError, "got one tensor as params"),
        (lambda: optim.SGD([1.0], 0.1), TypeError, "cannot optimize float"),
        (lambda: optim.SGD([leaf([1.0]) * 2]), ValueError, "non-leaf"),
        (lambda: optim.SGD([leaf([1.0])], lr=-1.0), ValueError, "lr=-1.0; needs a number >= 0"),
        (lambda: optim.SGD([leaf([1.0])], nesterov=True), ValueError, "Nesterov momentum"),
        (lambda: lr_scheduler.LinearLR(optim.SGD([leaf([1.0])]), 0.0), ValueError, "start_factor"),
        (lambda: lr_scheduler.StepLR(optim.SGD([leaf([1.0])]), 2, last_epoch=3), KeyError,
         "initial_lr"),
        (lambda: lr_scheduler.LambdaLR(optim.SGD([leaf([1.0])]), []), ValueError, "Expected 1"),
    ],
)  # fmt: skip
def test_refused(wrong: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_same_parameter_twice_is_refused() -> None:
    p = leaf([1.0])
    for params in ([p, p], [{"params": [p]}, {"params": [p]}]):
        with pytest.raises(ValueError, match="more than one parameter group"):
            optim.SGD(params)


def test_state_of_another_net_is_refused() -> None:
    optimizer = optim.SGD([leaf([1.0]), leaf([2.0])], momentum=0.9)
    other = optim.SGD([leaf([1.0, 2.0])], momentum=0.9)
    train_one = other.param_groups[0]["params"][0]
    train_one.grad = cn.ones(2, dtype=cn.float64)
    other.step()
    state = other.state_dict()
    with pytest.raises(cn.CheckpointError, match=r"\[1\] parameters, the optimizer has \[2\]"):
        optimizer.load_state_dict(state)
    with pytest.raises(cn.CheckpointError, match="different number of parameter groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    single = optim.SGD([leaf([1.0])])
    with pytest.raises(cn.CheckpointError, match=r"momentum_buffer of parameter 0.*needs \[1\]"):
        single.load_state_dict(state)


# Written down from PyTorch 2.13, from a rate of 0.8.
_RATES: dict[str, tuple[Any, list[float]]] = {
    "LambdaLR": (lambda o: lr_scheduler.LambdaLR(o, lambda e: 0.5**e),
                 [0.8, 0.4, 0.2, 0.1, 0.05, 0.025]),
    "StepLR": (lambda o: lr_scheduler.StepLR(o, 2, 0.5), [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]),
    "MultiStepLR": (lambda o: lr_scheduler.MultiStepLR(o, [1, 3], 0.1),
                    [0.8, 0.08, 0.08, 0.008, 0.008, 0.008]),
    "ExponentialLR": (lambda o: lr_scheduler.ExponentialLR(o, 0.9),
                      [0.8, 0.72, 0.648, 0.5832, 0.52488, 0.472392]),
    "CosineAnnealingLR": (lambda o: lr_scheduler.CosineAnnealingLR(o, 4, 0.1),
                          [0.8, 0.6974873734152917, 0.45, 0.2025126265847, 0.1, 0.2025126265847]),
    "LinearLR": (lambda o: lr_scheduler.LinearLR(o, 0.25, 1.0, 3), [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]),
}  # fmt: skip


@pytest.mark.parametrize("name", _RATES)
def test_schedules(name: str) -> None:
    make, wanted = _RATES[name]
    optimizer = optim.SGD([leaf([0.0])], lr=0.8)
    schedule = make(optimizer)
    rates = []
    for _ in wanted:
        rates += schedule.get_last_lr()
        schedule.step()
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)
    # Resumed in the middle: another optimizer, whose rate is not the first one's.
    again = optim.SGD([leaf([0.0])], lr=0.8)
    again.load_state_dict(optimizer.state_dict())
    resumed = make(again)
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.get_last_lr() == schedule.get_last_lr()
    schedule.step()
    resumed.step()
    assert resumed.get_last_lr() == schedule.get_last_lr()
    assert all(math.isfinite(r) for r in rates)
