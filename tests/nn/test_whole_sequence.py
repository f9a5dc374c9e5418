"""Layers as one op against the same layers step by step: values, gradients, second derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn
from clnet.engine import run
from clnet.ops import recurrent
from clnet.testing import gradcheck, gradgradcheck, has_float64

# Steps, batch, features: 1, primes, and around tiles of 4 and 8 rows and 16 and 32 columns.
SIZES = [(1, 1, 1), (3, 2, 7), (2, 4, 16), (4, 9, 31), (2, 13, 33), (3, 17, 64), (2, 70, 65)]
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("LSTM", {}),
    ("GRU", {}),
]
IDS = ["tanh", "relu", "LSTM", "GRU"]


def results(net: Any, x: np.ndarray, lengths: Any, whole: bool, patch: Any) -> list[np.ndarray]:
    """Return outputs, last states and all gradients, computed either way."""
    asked: list[str] = []

    def chosen(name: str, pre: cn.Tensor) -> bool:
        asked.append(name)
        return whole

    patch.setattr(recurrent, "whole_sequence", chosen)
    net.zero_grad()
    given = cn.tensor(x, requires_grad=True)
    output, state = net(given, lengths=lengths)
    assert asked
    states = state if isinstance(state, tuple) else (state,)
    total = (output * output).sum()
    for i, s in enumerate(states):
        total = total + (s * s).sum() * (i + 2)
    total.backward()
    grads = [t.grad for t in (given, *net.parameters())]
    found = [output.detach(), *(s.detach() for s in states), *(g for g in grads if g is not None)]
    assert len(found) == 1 + len(states) + len(grads)
    cn.eval(*found)
    return [t.numpy() for t in found]


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_to_step_by_step(
    kind: str, settings: dict[str, Any], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dtype == "float64" and not has_float64():
        pytest.skip("the device has no float64")
    cn.manual_seed(0)
    random = np.random.default_rng(0)
    rtol, atol = (1e-4, 1e-5) if dtype == "float32" else (1e-9, 1e-12)
    for number, (t, b, h) in enumerate(SIZES if dtype == "float32" else SIZES[1:4]):
        net = getattr(nn, kind)(
            3, h, num_layers=1 + number % 2, bidirectional=True, bias=number != 3,
            dtype=getattr(cn, dtype), **settings,
        )  # fmt: skip
        x = random.normal(size=(t, b, 3)).astype(dtype)
        lengths = random.integers(1, t + 1, b) if number % 3 else None
        wanted = results(net, x, lengths, False, monkeypatch)
        found = results(net, x, lengths, True, monkeypatch)
        for f, w in zip(found, wanted, strict=True):
            assert f.dtype == w.dtype
            np.testing.assert_allclose(f, w, rtol, atol * max(1.0, float(np.abs(w).max())))


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=IDS)
def test_second_derivatives(kind: str, settings: dict[str, Any]) -> None:
    if not has_float64():
        pytest.skip("the device has no float64")
    cn.manual_seed(0)
    net = getattr(nn, kind)(1, 2, bidirectional=True, dtype=cn.float64, **settings)
    names = [name for name, _ in net.named_parameters()]
    weights = [cn.tensor(p.detach().numpy()) for p in net.parameters()]

    def function(x: cn.Tensor, *operands: cn.Tensor) -> Any:
        count = len(operands) - len(names)
        for name, weight in zip(names, operands[count:], strict=True):
            net._parameters[name] = weight
        hx = operands[0] if count == 1 else operands[:count]
        output, state = net(x, hx, lengths=[2, 1])
        return (output, *(state if isinstance(state, tuple) else (state,)))

    random = np.random.default_rng(0)
    states = [cn.tensor(random.normal(size=(2, 2, 2))) for _ in range(1 + (kind == "LSTM"))]
    operands = [cn.tensor(random.normal(size=(2, 2, 1))), *states, *weights]
    assert gradcheck(function, operands)
    assert gradgradcheck(function, operands)


def test_a_value_read_before_backward_is_computed_once() -> None:
    net = nn.LSTM(3, 4)
    output, _ = net(cn.ones(5, 2, 3))
    cn.eval(output)
    with cn.profile() as profile:
        output.sum().backward()
        cn.eval(*(p.grad for p in net.parameters() if p.grad is not None))
        cn.synchronize()
    assert "rnn_forward" not in str(profile)


def test_tuning_entry_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    real = run.target

    def tuned(whole: bool) -> Any:
        fields = {**vars(real(cn.device())), "tuning": {"recurrent_layer": {"whole": whole}}}
        return lambda on: run.DeviceTarget(**fields)

    pre = cn.zeros(2, 3, 16)
    for whole in (False, True):
        monkeypatch.setattr(run, "target", tuned(whole))
        assert recurrent.whole_sequence("lstm", pre) is whole


@pytest.mark.parametrize(
    ("operands", "error", "message"),
    [
        ((cn.zeros(2, 3, 6), (cn.zeros(3, 2),) * 2, cn.zeros(8, 2), cn.zeros(8)), cn.ShapeError,
         r"lstm: got float32\[2, 3, 6\].*needs the input's part \[t, b, 4 \* h\]"),
        ((cn.zeros(2, 3, 8), (cn.zeros(3, 2), cn.zeros(2, 2)), cn.zeros(8, 2), cn.zeros(8)),
         cn.ShapeError,
         r"lstm: got float32\[2, 2\] .*needs floating-point float32\[3, 2\]"),
        ((cn.zeros(2, 3, 8), (cn.zeros(3, 2),) * 2, cn.zeros(8, 2).half(), cn.zeros(8)),
         cn.DTypeError,
         r"lstm: got float16\[8, 2\]"),
        ((cn.zeros(2, 3, 8), (cn.zeros(3, 2),) * 2, cn.zeros(8, 2), cn.zeros(8), cn.zeros(3)),
         cn.ShapeError, r"lstm: got lengths float32\[3\]; needs int32\[3\]"),
    ],
)  # fmt: skip
def test_errors(operands: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        recurrent.layer("lstm", *operands)
