"""unfold: against a plain loop, stop conditions, random numbers, gradients, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn


def test_without_stop_all_steps_are_made() -> None:
    found = cn.unfold(lambda s: (s, s + 1), cn.tensor([0, 10]), 3)
    assert found.output.tolist() == [[0, 10], [1, 11], [2, 12]]
    assert (found.state.tolist(), found.lengths) == ([3, 13], None)
    turned = cn.unfold(lambda s: (s, s + 1), cn.tensor([0, 10]), 3, batch_first=True)
    assert turned.output.tolist() == [[0, 1, 2], [10, 11, 12]]


@pytest.mark.parametrize("steps", [1, 5, 16, 40])
def test_sequences_stop_one_by_one(steps: int) -> None:
    start = np.array([3, 1, 30, 7])
    found = cn.unfold(lambda s: (s, s - 1), cn.tensor(start), steps, stop=lambda y: y <= 1)
    lengths = np.minimum(start, steps)
    assert found.lengths is not None and found.lengths.tolist() == lengths.tolist()
    wanted = start - np.arange(lengths.max())[:, None]
    wanted[np.arange(lengths.max())[:, None] >= lengths] = 0
    assert found.output.tolist() == wanted.tolist()
    assert found.state.tolist() == (start - lengths).tolist()


def test_a_generator_is_a_loop_of_its_cell() -> None:
    cell, out = nn.GRUCell(3, 4), nn.Linear(4, 3)

    def step(state: Any) -> Any:
        x, h = state
        h = cell(x, h)
        y = cn.tanh(out(h))
        return {"y": y, "h": h}, (y, h)

    begin = cn.randn(2, 3), cn.randn(2, 4)
    parameters = [*cell.parameters(), *out.parameters()]
    found = []
    for looped in (False, True):
        for p in parameters:
            p.grad = None
        if looped:
            state, ys = begin, []
            for _ in range(5):
                y, state = step(state)
                ys.append(y["y"])
            output = cn.stack(ys)
        else:
            output = cn.unfold(step, begin, 5).output["y"]
        (output * output).sum().backward()
        found.append([output.detach().numpy(), *(p.grad.numpy() for p in parameters)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_each_step_draws_other_numbers() -> None:
    cn.manual_seed(1)
    wanted = [cn.rand(2).tolist() for _ in range(5)]
    cn.manual_seed(1)
    assert cn.unfold(lambda s: (cn.rand(2), s), cn.zeros(2), 5).output.tolist() == wanted


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: cn.unfold(lambda s: (s, s), cn.ones(2), 0), ValueError, "steps=0; needs at least"),
        (lambda: cn.unfold(lambda s: (s, s), 1.0, 3), cn.DTypeError, "the state has a float"),
        (lambda: cn.unfold(lambda s: s, cn.ones(2), 3), cn.DTypeError, r"needs \(output, state\)"),
        (lambda: cn.unfold(lambda s: (s, s.sum()), cn.ones(2), 3), cn.ShapeError,
         r"made a state float32\[\] of float32\[2\]"),
        (lambda: cn.unfold(lambda s: (1, s), cn.ones(2), 3), cn.DTypeError, "output has a int"),
        (lambda: cn.unfold(lambda s: (s, s), cn.ones(()), 3, stop=lambda y: y > 0), cn.ShapeError,
         r"got a state float32\[\]; needs tensors \[b"),
        (lambda: cn.unfold(lambda s: (s.sum(), s), cn.ones(2), 3, stop=lambda y: y > 0),
         cn.ShapeError, r"made float32\[\] and a state float32\[2\]; needs \[2, "),
        (lambda: cn.unfold(lambda s: (s, s), cn.ones(2), 3, stop=lambda y: y), cn.ShapeError,
         r"stop gave float32\[2\]; needs bool\[2\]"),
    ],
)  # fmt: skip
def test_errors(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


@pytest.mark.parametrize("stopping", [False, True])
def test_more_steps_without_gradients_need_no_larger_plans(stopping: bool) -> None:
    cell = nn.GRUCell(3, 3)

    def step(state: cn.Tensor) -> tuple[cn.Tensor, cn.Tensor]:
        state = cell(state, state)
        return state, state

    stop = (lambda y: y[:, 0] > 9) if stopping else None
    misses = []
    for steps in (64, 640, 1280):
        with cn.no_grad():
            cn.eval(cn.unfold(step, cn.ones(2, 3), steps, stop=stop).output)
        misses.append(cn.engine_stats()["misses"])
    # Those of the results' length: the outputs one beside the other, and what is read of them.
    assert misses[2] - misses[1] <= 8
