"""Launches of one work-item each become one kernel, which computes the same."""

from __future__ import annotations

from typing import Any

import pytest

import clnet as cn
from clnet import functional as F
from clnet import nn
from clnet.device import KernelSource
from clnet.engine import program, serial
from clnet.engine.program import Held
from clnet.engine.run import Engine
from clnet.errors import BuildError, OutOfMemoryError


def values(lr: float) -> list[float]:
    """Return results of tiny launches; scalars and the offset of a leaf differ between runs."""
    x = cn.arange(8).float()
    cn.eval(x)
    part = x[int(lr) : int(lr) + 4]
    y = (part * lr).tanh()
    total = y.sum()
    return [*(y.cumsum(0) + total).tolist(), (part @ y).item()]


def test_results_stay_when_launches_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [values(lr) for lr in (1.0, 2.0, 3.0)]
    monkeypatch.setattr(program, "SERIAL_AFTER", 1)
    engine = Engine()
    monkeypatch.setattr("clnet.core.runtime", engine)
    for _ in range(4):
        assert [values(lr) for lr in (1.0, 2.0, 3.0)] == wanted
    joined = [p for p in engine._programs.values() if p._serial is not None]
    assert cn.device().type != "cpu" or any(len(p._serial or ()) < len(p._launches) for p in joined)


def test_a_kernel_that_cannot_be_built_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise BuildError("no")

    monkeypatch.setattr(program, "SERIAL_AFTER", 1)
    monkeypatch.setattr(program, "serial_launches", refuse)
    monkeypatch.setattr("clnet.core.runtime", Engine())
    assert values(2.0) == values(2.0) == values(2.0)


def test_many_parameters_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "_MAX_PARAMETERS", 8)
    test_results_stay_when_launches_are_joined(monkeypatch)


def trained(steps: int, keep: bool = False) -> list[float]:
    """Return losses, and parameters at last, of a tiny net whose batch and rate change."""
    cn.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = cn.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    data = cn.arange(8).float()
    losses, kept = [], []
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)
        optimizer.zero_grad()
        loss = F.mse_loss(net(data[i % 4 : i % 4 + 2]), data[i : i + 1])
        loss.backward()
        if keep:  # what the update would overwrite
            kept.append([p.detach() for p in net.parameters()])
        optimizer.step()
        losses.append(loss.item())
    for values in kept:
        losses += values[0].flatten().tolist()
    return [*losses, *(v for p in net.parameters() for v in p.detach().flatten().tolist())]


@pytest.mark.parametrize("keep", [False, True])
def test_an_update_is_launched_with_its_gradients(
    monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    wanted = trained(6, keep)
    monkeypatch.setattr(program, "SERIAL_AFTER", 2)
    monkeypatch.setattr("clnet.core.runtime", Engine())
    joined: list[Held] = []
    join = Held.launch_joined

    def launch_joined(held: Held, *args: Any) -> None:
        joined.append(held)
        join(held, *args)

    monkeypatch.setattr(Held, "launch_joined", launch_joined)
    assert trained(6, keep) == wanted
    assert bool(joined) == (cn.device().type == "cpu" and not keep)


def test_several_optimizers_share_one_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second optimizer whose update is not known yet launches what the first would join."""

    def run() -> list[float]:
        x = [cn.tensor([1.0, 2.0], requires_grad=True) for _ in range(2)]
        found = []
        for lr in (0.5, 0.25):
            optimizers = [cn.optim.SGD([t], lr=lr) for t in x]
            for _ in range(4):
                for t in x:
                    t.grad = None
                (x[0] * x[1]).sum().backward()
                for optimizer in optimizers:
                    optimizer.step()
                found += [v for t in x for v in t.detach().tolist()]
        return found

    wanted = run()
    monkeypatch.setattr(program, "SERIAL_AFTER", 2)
    monkeypatch.setattr("clnet.core.runtime", Engine())
    assert run() == wanted


def test_held_launches_are_enqueued_when_an_update_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cn.tensor([1.0, 2.0], requires_grad=True)
    optimizer = cn.optim.SGD([x], lr=0.25)
    for fails in (False, True):
        x.grad = None
        (x * x).sum().backward()
        if fails:
            monkeypatch.setattr(optimizer, "_structure", lambda group: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                optimizer.step()
        else:
            optimizer.step()
    assert x.grad is not None
    assert x.detach().tolist() == [0.5, 1.0] and x.grad.tolist() == [1.0, 2.0]


def test_kernels_that_an_earlier_process_built_are_used_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(program, "SERIAL_AFTER", 100)
    monkeypatch.setattr(program, "SERIAL_AFTER_SEEN", 2)
    for seen in (False, True):
        monkeypatch.setattr(type(cn.device()), "seen", lambda *_, seen=seen: seen)
        engine = Engine()
        monkeypatch.setattr("clnet.core.runtime", engine)
        for _ in range(4):
            values(2.0)
        joined = [
            p for p in engine._programs.values() if len(p._serial or p._launches) < len(p._launches)
        ]
        assert bool(joined) == (seen and cn.device().type == "cpu")


def test_a_device_knows_what_it_built() -> None:
    source = KernelSource("doctor.cl", "group_sum", (("LOCAL", "2"),))
    cn.device().kernels([source])
    assert cn.device().seen(source)
    assert not cn.device().seen(KernelSource("doctor.cl", "group_sum", (("LOCAL", "99"),)))


def test_results_of_held_launches_that_fail_have_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cn.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    assert x.grad is not None

    def refuse(*args: object) -> None:
        raise OutOfMemoryError("no")

    optimizer = cn.optim.SGD([x], lr=0.25)
    with monkeypatch.context() as patch:
        patch.setattr(type(cn.device()), "enqueue", refuse)
        with pytest.raises(OutOfMemoryError):
            optimizer.step()
    assert x.grad.node.buffer is None and loss.node.buffer is None
    assert x.detach().tolist() == [1.0, 2.0]
