"""LSTM variants against their formulas in NumPy, their gradients, and noise for cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn
from clnet.testing import gradcheck, has_float64

Arrays = dict[str, np.ndarray]


def s(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def pre(x: np.ndarray, h: np.ndarray, w: Arrays) -> np.ndarray:
    sums = x @ w["weight_ih"].T + h @ w["weight_hh"].T
    return sums + w["bias_ih"] + w["bias_hh"] if "bias_ih" in w else sums


def norm(x: np.ndarray, gain: np.ndarray, shift: Any = 0.0) -> np.ndarray:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * gain + shift


def peephole(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: Arrays) -> Any:
    i, f, g, o = np.split(pre(x, h, w), 4, -1)
    p_i, p_f, p_o = w["weight_ch"]
    c = s(f + p_f * c) * c + s(i + p_i * c) * np.tanh(g)
    return s(o + p_o * c) * np.tanh(c), c


def coupled(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: Arrays) -> Any:
    i, g, o = np.split(pre(x, h, w), 3, -1)
    p_i, p_o = w.get("weight_ch", np.zeros((2, 1)))
    i = s(i + p_i * c)
    c = (1 - i) * c + i * np.tanh(g)
    return s(o + p_o * c) * np.tanh(c), c


def layer_norm(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: Arrays) -> Any:
    sums = norm(x @ w["weight_ih"].T, w["norm_ih.weight"])
    sums = sums + norm(h @ w["weight_hh"].T, w["norm_hh.weight"])
    if "bias_ih" in w:
        sums = sums + w["bias_ih"] + w["bias_hh"]
    i, f, g, o = np.split(sums, 4, -1)
    c = s(f) * c + s(i) * np.tanh(g)
    return s(o) * np.tanh(norm(c, w["norm_c.weight"], w.get("norm_c.bias", 0.0))), c


CELLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "peephole": (nn.PeepholeLSTMCell, peephole),
    "coupled": (nn.CoupledLSTMCell, coupled),
    "fast": (lambda *a, **k: nn.CoupledLSTMCell(*a, **k, peephole=True), coupled),
    "layer norm": (nn.LayerNormLSTMCell, layer_norm),
}


def made(kind: str, bias: bool, dtype: cn.DType = cn.float32) -> Any:
    cell = CELLS[kind][0](3, 4, bias=bias, dtype=dtype)
    with cn.no_grad():
        for p in cell.parameters():
            p.add_(cn.randn_like(p) * 0.5)  # gains other than 1, shifts other than 0
    return cell


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_step_is_its_formula(kind: str, bias: bool) -> None:
    cell = made(kind, bias)
    weights = {name: p.detach().numpy() for name, p in cell.named_parameters()}
    assert ("bias_ih" in weights) == bias
    for shape in ((), (2,)):
        x, h, c = (cn.randn(*shape, n) for n in (3, 4, 4))
        wanted = CELLS[kind][1](x.numpy(), h.numpy(), c.numpy(), weights)
        for a, b in zip(cell(x, (h, c)), wanted, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-4, atol=1e-5)
        zero = np.zeros((*shape, 4), np.float32)
        for a, b in zip(cell(x), CELLS[kind][1](x.numpy(), zero, zero, weights), strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not has_float64(), reason="needs float64")
@pytest.mark.parametrize("kind", CELLS)
def test_gradients_of_inputs_states_weights_and_biases(kind: str) -> None:
    cell = made(kind, True, cn.float64)
    names = [name for name, _ in cell.named_parameters()]

    def two_steps(x: cn.Tensor, h: cn.Tensor, c: cn.Tensor, *weights: cn.Tensor) -> Any:
        for name, w in zip(names, weights, strict=True):
            path, _, own = name.rpartition(".")
            cell.get_submodule(path)._parameters[own] = w
        output, (h, c) = cn.map_accum(cell, x, (h, c))
        return output, c

    x, h, c = (cn.randn(*shape, dtype=cn.float64) for shape in ((2, 2, 3), (2, 4), (2, 4)))
    weights = [p.detach() for p in cell.parameters()]
    assert gradcheck(two_steps, [x, h, c, *weights])


@pytest.mark.parametrize("kind", CELLS)
def test_state_dict_and_reset(kind: str) -> None:
    one, two = made(kind, True), made(kind, True)
    two.load_state_dict(one.state_dict())
    x = cn.randn(2, 3)
    np.testing.assert_array_equal(one(x)[0].detach().numpy(), two(x)[0].detach().numpy())
    two.reset_parameters()
    for name, p in two.named_parameters():
        if name.startswith("norm"):
            assert (p.detach().numpy() == float(name.endswith("weight"))).all()
        else:
            assert 0 < np.abs(p.detach().numpy()).max() <= 0.5


# --- noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_variational_dropout_keeps_its_mask_over_time(batch_first: bool) -> None:
    layer = nn.VariationalDropout(0.25, batch_first=batch_first)
    x = cn.ones(*((40, 6, 50) if batch_first else (6, 40, 50))).requires_grad_()
    y = layer(x)
    values = y.detach().numpy()
    values = values.swapaxes(0, 1) if batch_first else values
    np.testing.assert_array_equal(values, np.broadcast_to(values[:1], values.shape))
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / 0.75)}
    # 2,000 draws: five standard deviations are 0.05.
    assert abs((values[0] == 0).mean() - 0.25) < 0.05
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    assert layer.eval()(x) is x


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.LSTMCell, nn.LayerNormLSTMCell])
def test_a_cell_with_masks_is_the_cell_on_masked_values(kind: Any) -> None:
    inner = kind(3, 4)
    cell = nn.VariationalDropoutCell(inner, 0.5, 0.5)
    x = cn.randn(5, 2, 3).requires_grad_()
    begin = cell.initial_state(x[0])
    _, x_mask, h_mask = begin
    assert {*x_mask.flatten().tolist(), *h_mask.flatten().tolist()} == {0.0, 2.0}
    output, (_last, after, _) = cn.map_accum(cell, x, begin)
    np.testing.assert_array_equal(after.numpy(), x_mask.numpy())
    state = inner.initial_state(x[0])
    for t in range(5):
        dropped = (state[0] * h_mask, state[1]) if isinstance(state, tuple) else state * h_mask
        state = inner(x[t] * x_mask, dropped)
        h = state[0] if isinstance(state, tuple) else state
        np.testing.assert_allclose(
            output[t].detach().numpy(), h.detach().numpy(), rtol=1e-4, atol=1e-6
        )
    output.sum().backward()
    assert all(p.grad is not None for p in cell.parameters())
    assert x.grad is not None
    dropped_inputs = np.broadcast_to(x_mask.numpy() == 0, x.grad.shape)
    assert not x.grad.numpy()[dropped_inputs].any()
    cell.eval()
    np.testing.assert_allclose(
        cn.map_accum(cell, x)[0].detach().numpy(),
        cn.map_accum(inner, x)[0].detach().numpy(),
        rtol=1e-4, atol=1e-6,
    )  # fmt: skip


def test_weight_noise_is_around_the_weights() -> None:
    inner = nn.GRU(3, 4)
    net = nn.WeightNoise(inner, 0.1)
    x = cn.randn(5, 2, 3)
    own = dict(inner.named_parameters())
    cn.manual_seed(4)
    found, _ = net(x)
    cn.manual_seed(4)
    moved = nn.GRU(3, 4)
    cn.manual_seed(4)
    noise = {name: cn.randn_like(p) * 0.1 for name, p in own.items()}
    moved.load_state_dict({name: p.detach() + noise[name] for name, p in own.items()})
    wanted, _ = moved(x)
    np.testing.assert_array_equal(found.detach().numpy(), wanted.detach().numpy())
    found.sum().backward()
    wanted.sum().backward()
    for name, p in inner.named_parameters():
        assert p is own[name]
        other = moved.get_parameter(name)
        assert p.grad is not None and other.grad is not None
        np.testing.assert_array_equal(p.grad.numpy(), other.grad.numpy())
    net.eval()
    np.testing.assert_array_equal(net(x)[0].detach().numpy(), inner(x)[0].detach().numpy())
    with pytest.raises(cn.ShapeError):
        net.train()(cn.ones(5, 2, 7))
    assert all(p is own[name] for name, p in inner.named_parameters())


def test_weight_noise_around_a_walk_is_once_a_sequence() -> None:
    class Walk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(3, 4)

        def forward(self, x: cn.Tensor) -> cn.Tensor:
            output: cn.Tensor = cn.map_accum(self.cell, x)[0]
            return output

    walk = Walk()
    net = nn.WeightNoise(walk, 0.5)
    x = cn.ones(1, 2, 3).expand(4, 2, 3)
    cn.manual_seed(1)
    found = net(x)
    cn.manual_seed(1)
    noisy = nn.LSTMCell(3, 4)
    cn.manual_seed(1)
    moved = {k: p.detach() + cn.randn_like(p) * 0.5 for k, p in walk.cell.named_parameters()}
    noisy.load_state_dict(moved)
    np.testing.assert_allclose(
        found.detach().numpy(), cn.map_accum(noisy, x)[0].detach().numpy(), rtol=1e-5, atol=1e-6
    )
    net(x).sum().backward()
    assert all(p.grad is not None and p.grad.numpy().any() for p in walk.parameters())


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: nn.PeepholeLSTMCell(3, 4)(cn.ones(2, 2)), cn.ShapeError,
         r"PeepholeLSTMCell: got input float32\[2, 2\]; needs \[batch, 3\]"),
        (lambda: nn.CoupledLSTMCell(3, 4)(cn.ones(2, 3), cn.ones(2, 4)), cn.ShapeError,
         r"CoupledLSTMCell: got one state; needs hx=\(h, c\)"),
        (lambda: nn.LayerNormLSTMCell(3, 4)(cn.ones(2, 3), (cn.ones(2, 4), cn.ones(3, 4))),
         cn.ShapeError, r"LayerNormLSTMCell: got c float32\[3, 4\]; needs \[2, 4\]"),
        (lambda: nn.CoupledLSTMCell(3, 4)(cn.ones(2, 3).half()), cn.DTypeError,
         "CoupledLSTMCell: got float16.*; needs float32"),
        (lambda: nn.VariationalDropout(1.5), ValueError, "between 0 and 1, but got 1.5"),
        (lambda: nn.VariationalDropout(0.5)(cn.ones(2, 3)), cn.ShapeError,
         r"VariationalDropout: got float32\[2, 3\]; needs \[t, b"),
        (lambda: nn.VariationalDropoutCell(nn.GRUCell(3, 4), 2.0), ValueError, "p_input=2.0"),
        (lambda: nn.WeightNoise(nn.GRUCell(3, 4), -1.0), ValueError, "std=-1.0; needs"),
    ],
)  # fmt: skip
def test_errors(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()
