"""Launches of one work-item each become one kernel, which computes the same."""

from __future__ import annotations

import pytest

import clnet as cn
from clnet.engine import program, serial
from clnet.engine.run import Engine
from clnet.errors import BuildError


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
