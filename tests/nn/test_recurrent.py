"""Recurrent layers: unequal lengths against single sequences, cells against layers, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn

LENGTHS = [2, 5, 1, 4]


def states_of(found: Any) -> tuple[cn.Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_are_sequences_run_one_by_one(kind: str, bidirectional: bool) -> None:
    cn.manual_seed(0)
    dtype = cn.float64 if cn.device().caps.fp64 else cn.float32
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-12} if cn.device().caps.fp64 else {"rtol": 1e-4, "atol": 1e-5}
    )
    net = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=bidirectional).to(dtype)
    values = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(dtype.name)
    ended = np.arange(5)[:, None] >= LENGTHS
    values[ended] = 1e3  # nothing beyond the end may be seen, not even in gradients
    x = cn.tensor(values, requires_grad=True)
    output, states = net(x, lengths=cn.tensor(LENGTHS))
    total = (output * output).sum()
    for state in states_of(states):
        total = total + state.sum()
    total.backward()
    assert x.grad is not None
    grads = [p.grad.numpy() for p in net.parameters()]
    net.zero_grad()
    for b, n in enumerate(LENGTHS):
        one = cn.tensor(values[:n, b], requires_grad=True)
        alone, last = net(one)
        total = (alone * alone).sum()
        for state in states_of(last):
            total = total + state.sum()
        total.backward()
        assert one.grad is not None
        np.testing.assert_allclose(
            output.detach().numpy()[:n, b], alone.detach().numpy(), **tolerance
        )
        np.testing.assert_array_equal(output.detach().numpy()[n:, b], 0)
        np.testing.assert_allclose(x.grad.numpy()[:n, b], one.grad.numpy(), **tolerance)
        np.testing.assert_array_equal(x.grad.numpy()[n:, b], 0)
        for state, wanted in zip(states_of(states), states_of(last), strict=True):
            np.testing.assert_allclose(
                state.detach().numpy()[:, b], wanted.detach().numpy(), **tolerance
            )
    for p, wanted in zip(net.parameters(), grads, strict=True):
        assert p.grad is not None
        np.testing.assert_allclose(p.grad.numpy(), wanted, **tolerance)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_is_its_cell_step_by_step(kind: str) -> None:
    net, cell = getattr(nn, kind)(3, 4), getattr(nn, f"{kind}Cell")(3, 4)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in net.state_dict().items()})
    x = cn.randn(6, 2, 3)
    output, last = net(x)
    state = None
    for t in range(6):
        state = cell(x[t], state)
        h = state[0] if isinstance(state, tuple) else state
        np.testing.assert_allclose(
            h.detach().numpy(), output[t].detach().numpy(), rtol=1e-5, atol=1e-6
        )
    for s, wanted in zip(states_of(state), states_of(last), strict=True):
        np.testing.assert_allclose(
            s.detach().numpy(), wanted.detach().numpy()[0], rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_dropout_lies_between_layers_in_training_only(kind: str) -> None:
    net = getattr(nn, kind)(3, 4, num_layers=2, dropout=0.5)
    x = cn.randn(6, 2, 3)
    assert not np.array_equal(net(x)[0].detach().numpy(), net(x)[0].detach().numpy())
    net.eval()
    np.testing.assert_array_equal(net(x)[0].detach().numpy(), net(x)[0].detach().numpy())


def test_other_lengths_need_no_other_plan() -> None:
    net, x = nn.LSTM(3, 4), cn.randn(5, 4, 3)
    cn.eval(x, *net.parameters())
    misses = []
    for lengths in ([5, 5, 5, 5], [1, 2, 3, 4], [2, 5, 1, 4]):
        cn.eval(net(x, lengths=lengths)[0])
        misses.append(cn.engine_stats()["misses"])
    assert misses[-1] == misses[1]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: nn.LSTM(3, 4)(cn.ones(5, 2, 2)), cn.ShapeError,
         r"LSTM: got input float32\[5, 2, 2\]; needs \[t, b, 3\]"),
        (lambda: nn.LSTM(3, 4)(cn.ones(5, 2, 3), cn.ones(1, 2, 4)), cn.ShapeError,
         r"needs hx=\(h_0, c_0\)"),
        (lambda: nn.LSTM(3, 4, proj_size=2)(cn.ones(5, 2, 3), (cn.ones(1, 2, 4), cn.ones(1, 2, 4))),
         cn.ShapeError, r"got h_0 float32\[1, 2, 4\]; needs \[1, 2, 2\].*proj_size"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "proj_size=4; needs 0 .* to 3"),
        (lambda: nn.GRU(3, 4, num_layers=2)(cn.ones(5, 2, 3), cn.ones(1, 2, 4)), cn.ShapeError,
         r"GRU: got hx float32\[1, 2, 4\]; needs \[2, 2, 4\]"),
        (lambda: nn.GRU(3, 4)(cn.ones(5, 2, 3), lengths=[5]), cn.ShapeError, "needs 2 integers"),
        (lambda: nn.GRU(3, 4)(cn.ones(5, 2, 3), lengths=[5.0, 1.0]), cn.ShapeError, "2 integers"),
        (lambda: nn.GRU(3, 4)(cn.ones(5, 2, 3), lengths=[0, 6]), ValueError,
         "0 to 6; needs 1 to 5"),
        (lambda: nn.LSTMCell(3, 4)(cn.ones(2, 3), cn.ones(2, 4)), cn.ShapeError, "one state"),
        (lambda: nn.GRUCell(3, 4)(cn.ones(2, 3), cn.ones(3, 4)), cn.ShapeError, r"needs \[2, 4\]"),
        (lambda: nn.LSTM(3, 4)(cn.ones(5, 2, 3).half()), cn.DTypeError,
         r"LSTM: got float16\[5, 2, 3\]; needs float32, as the weights"),
        (lambda: nn.GRUCell(3, 4)(cn.ones(2, 3), cn.ones(2, 4).half()), cn.DTypeError,
         r"got float32\[2, 3\], float16\[2, 4\]; needs float32"),
    ],
)  # fmt: skip
def test_errors(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()
