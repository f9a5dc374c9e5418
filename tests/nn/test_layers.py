"""Layers, initialisations and clipping: what needs no PyTorch to tell right from wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import functional as F
from clnet import nn


def values(x: cn.Tensor) -> np.ndarray:
    return x.detach().numpy()


# --- initialisation ------------------------------------------------------------------------------


def test_default_initialisations_have_pytorchs_bounds() -> None:
    layers: list[nn.Module] = [nn.Linear(100, 50), nn.RNN(7, 100), nn.RNNCell(7, 100)]
    for weight in (p for layer in layers for p in layer.parameters()):
        assert 0.09 < np.abs(values(weight)).max() <= 0.1
    table = values(nn.Embedding(50, 100, padding_idx=-1).weight)
    assert abs(table[:-1].std() - 1) < 0.05
    assert not table[-1].any()
    assert values(nn.LayerNorm(3).weight).tolist() == [1.0] * 3


def test_same_seed_same_net() -> None:
    nets = []
    for _ in range(2):
        cn.manual_seed(5)
        nets.append(nn.Linear(4, 3))
    np.testing.assert_array_equal(values(nets[0].weight), values(nets[1].weight))
    assert not np.array_equal(values(nn.Linear(4, 3).weight), values(nets[0].weight))


def test_init_fills_in_place_with_the_right_spread() -> None:
    w = nn.Parameter(cn.zeros(60, 40))
    bound = math.sqrt(6 / 100)
    assert nn.init.xavier_uniform_(w) is w
    assert w.requires_grad
    assert 0.95 * bound < np.abs(values(w)).max() <= bound
    for fill, std in (
        (lambda: nn.init.xavier_normal_(w, gain=2.0), 2 * math.sqrt(2 / 100)),
        (
            lambda: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
            math.sqrt(2 / 60),
        ),
        (lambda: nn.init.kaiming_uniform_(w, a=math.sqrt(5)), 1 / math.sqrt(3 * 40)),
        (lambda: nn.init.normal_(w, 0.0, 0.3), 0.3),
    ):
        fill()
        assert abs(values(w).std() / std - 1) < 0.08
    assert values(nn.init.eye_(w))[3, 3] == 1
    assert (values(nn.init.constant_(w, 0.5)) == 0.5).all()
    q = values(nn.init.orthogonal_(w))
    np.testing.assert_allclose(q.T @ q, np.eye(40), atol=1e-5)
    q = values(nn.init.orthogonal_(nn.Parameter(cn.zeros(3, 2, 4)), gain=2.0)).reshape(3, 8)
    np.testing.assert_allclose(q @ q.T, 4 * np.eye(3), atol=1e-5)


# --- dropout -------------------------------------------------------------------------------------


def test_dropout() -> None:
    x = cn.ones(100, 100, requires_grad=True)
    y = F.dropout(x, 0.25)
    y.sum().backward()
    kept = values(y) != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(values(y)[kept], 1 / 0.75, rtol=1e-6)
    # The gradient passes where the value did.
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), values(y))
    assert F.dropout(x, 0.25, training=False) is x
    assert not values(F.dropout(x, 1.0)).any()
    channels = values(nn.Dropout1d(0.5)(cn.ones(50, 4, 3)))
    assert (channels == channels[:, :, :1]).all()
    net = nn.Dropout(0.5)
    assert not np.array_equal(values(net(x)), values(net(x)))


# --- what a newcomer gets wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: nn.Linear(3, 2)(cn.ones(4)), cn.ShapeError,
         r"linear: cannot multiply float32\[4\] by weight float32\[2, 3\]; needs \[.., in\]"),
        (lambda: F.embedding(cn.ones(2), cn.ones(2, 2)), cn.DTypeError, "needs integers"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "needs -3 to 2"),
        (lambda: F.cross_entropy(cn.ones(4, 3), cn.tensor([0, 1])), cn.ShapeError,
         r"cannot compare float32\[4, 3\] with target int64\[2\]; needs a target of shape \[4\]"),
        (lambda: F.cross_entropy(cn.ones(4, 3), cn.ones(4)), cn.DTypeError, "needs class indices"),
        (lambda: F.cross_entropy(cn.ones(4, 3), cn.tensor([0] * 4), cn.ones(2)), cn.ShapeError,
         "one number for each of 3 classes"),
        (lambda: F.cross_entropy(cn.ones(1, 3), cn.tensor([0]), label_smoothing=2), ValueError,
         "label_smoothing=2"),
        (lambda: F.mse_loss(cn.ones(4), cn.ones(4, 1)), cn.ShapeError, "needs equal shapes"),
        (lambda: F.mse_loss(cn.ones(4), cn.ones(4), reduction="avg"), ValueError, "'mean', 'sum'"),
        (lambda: F.softmax(cn.ones(2, 3), 2), cn.IndexOutOfRange, "softmax: dimension 2 of"),
        (lambda: nn.Dropout(1.5), ValueError, "between 0 and 1, but got 1.5"),
        (lambda: nn.LayerNorm(4)(cn.ones(2, 3)), cn.ShapeError, r"over \[4\]; needs its last"),
        (lambda: F.glu(cn.ones(3)), cn.ShapeError, "needs an even size"),
        (lambda: nn.RNN(3, 4)(cn.ones(5, 2, 2)), cn.ShapeError,
         r"RNN: got input float32\[5, 2, 2\]; needs \[t, b, 3\]"),
        (lambda: nn.RNN(3, 4)(cn.ones(5, 2, 3), cn.ones(1, 5, 4)), cn.ShapeError,
         r"RNN: got hx float32\[1, 5, 4\]; needs \[1, 2, 4\]"),
        (lambda: nn.RNN(3, 4)(cn.ones(0, 2, 3)), cn.ShapeError, "sequence of length 0"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, "needs 'tanh' or 'relu'"),
        (lambda: nn.RNN(3, 0), ValueError, "hidden_size=0"),
        (lambda: nn.RNNCell(3, 4)(cn.ones(2, 3), cn.ones(4)), cn.ShapeError, r"needs \[2, 4\]"),
        (lambda: nn.init.xavier_normal_(cn.ones(3)), cn.ShapeError, "at least 2 dimensions"),
        (lambda: nn.init.calculate_gain("swish"), ValueError, "needs one of linear"),
        (lambda: F.gelu(cn.ones(1), approximate="fast"), ValueError, "'none' or 'tanh'"),
    ],
)  # fmt: skip
def test_refused(wrong: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_class_that_is_not_there_makes_the_loss_nan() -> None:
    x = cn.zeros(2, 3)
    losses = [F.cross_entropy(x, cn.tensor(t)) for t in ([0, 3], [0, -1], [0, 2], [0, -100])]
    losses.append(F.nll_loss(x, cn.tensor([7, 0])))
    cn.eval(*losses)
    assert [math.isnan(x.item()) for x in losses] == [True, True, False, False, True]


def test_one_hot() -> None:
    x = cn.tensor([[2, 0]], dtype=cn.int32)
    assert F.one_hot(x).tolist() == F.one_hot(x, 3).tolist() == [[[0, 0, 1], [1, 0, 0]]]


def test_extreme_logits_stay_finite() -> None:
    x = cn.tensor([[1e4, 0.0, -1e4], [-math.inf, 0.0, 3.0]], requires_grad=True)
    loss = F.cross_entropy(x, cn.tensor([1, 2]))
    loss.backward()
    assert x.grad is not None
    assert math.isclose(loss.item(), (1e4 + math.log1p(math.exp(-3))) / 2, rel_tol=1e-6)
    np.testing.assert_allclose(
        x.grad.numpy(), [[0.5, -0.5, 0], [0, 0.02371294, -0.02371294]], atol=1e-6
    )


@pytest.mark.parametrize("dtype", [cn.float16, cn.bfloat16])
def test_sixteen_bits_sum_in_32(dtype: cn.DType) -> None:
    # 100,000 terms of 1 exceed what float16 holds, and what bfloat16 counts.
    x = cn.zeros(1, 100_000).to(dtype)
    y = x.log_softmax(1)
    loss = F.cross_entropy(x, cn.tensor([5]))
    assert y.dtype is dtype
    assert abs(y[0, 0].item() + math.log(100_000)) < 0.1
    assert abs(loss.item() - math.log(100_000)) < 0.1


def test_inplace_activations() -> None:
    x = cn.tensor([-1.0, 2.0])
    y = nn.ReLU(inplace=True)(x)
    assert y is x
    assert x.tolist() == [0.0, 2.0]


def test_gradient_of_embedding_sums_repeats() -> None:
    layer = nn.Embedding(5, 2)
    layer(cn.tensor([[1, 1], [1, 4]])).sum().backward()
    grad = layer.weight.grad
    assert grad is not None
    assert grad.tolist() == [[0, 0], [3, 3], [0, 0], [0, 0], [1, 1]]
    frozen = nn.Embedding.from_pretrained(cn.ones(3, 2))
    assert not frozen.weight.requires_grad


# --- clipping ------------------------------------------------------------------------------------


def leaf(gradient: list[float]) -> cn.Tensor:
    x = cn.zeros(len(gradient), requires_grad=True)
    x.grad = cn.tensor(gradient)
    return x


def test_clipping() -> None:
    for order, norm in ((2.0, 13.0), (1.0, 19.0), (math.inf, 12.0)):
        pair = [leaf([3.0, 4.0]), leaf([12.0]), cn.zeros(3, requires_grad=True)]
        assert nn.clip_grad_norm_(pair, 1.0, order).item() == pytest.approx(norm)
        assert pair[0].grad is not None
        np.testing.assert_allclose(pair[0].grad.numpy(), np.array([3, 4]) / norm, rtol=1e-5)
    small = leaf([0.3, 0.4])
    nn.clip_grad_norm_(small, 1.0)
    assert small.grad is not None
    np.testing.assert_array_equal(small.grad.numpy(), np.float32([0.3, 0.4]))
    large = leaf([3.0, -0.4])
    nn.clip_grad_value_(large, 0.5)
    assert large.grad is not None
    np.testing.assert_array_equal(large.grad.numpy(), np.float32([0.5, -0.4]))
    with pytest.raises(cn.GradientError, match="needs a finite one"):
        nn.clip_grad_norm_(leaf([math.inf]), 1.0, error_if_nonfinite=True)
    assert nn.clip_grad_norm_([], 1.0).item() == 0


# --- state carried from step to step -------------------------------------------------------------


def test_carried_state_is_computed_with_the_step_that_made_it() -> None:
    net = nn.RNN(2, 3, num_layers=2)
    h: cn.Tensor | None = None
    for _ in range(2):
        output, h = net(cn.ones(4, 1, 2), h)
        h = h.detach()
        output.sum().backward()
        cn.eval(*(p.grad for p in net.parameters() if p.grad is not None))
        # Otherwise the next step would compute this one's forward pass a second time.
        assert h.node.buffer is not None


def test_detached_value_is_computed_with_what_it_comes_from() -> None:
    w = cn.ones(2, requires_grad=True)
    h = cn.tanh(w)
    loss = (h * 2).sum()
    h = h.detach()
    loss.backward()
    cn.eval(loss)
    assert h.node.buffer is not None
