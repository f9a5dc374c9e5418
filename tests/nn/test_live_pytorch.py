"""Against PyTorch itself, where it is installed: random recurrent nets, texts, states exchanged."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn
from tests.nn.cases import MODULES

torch: Any = pytest.importorskip("torch")


@pytest.mark.parametrize("seed", range(8))
def test_random_rnn(seed: int) -> None:
    draw = random.Random(seed)
    settings = {
        "num_layers": draw.randint(1, 3),
        "nonlinearity": draw.choice(["tanh", "relu"]),
        "bias": draw.random() < 0.7,
        "batch_first": draw.random() < 0.5,
        "bidirectional": draw.random() < 0.5,
    }
    sizes = draw.randint(1, 5), draw.randint(1, 5)
    theirs = torch.nn.RNN(*sizes, **settings).double()
    ours = nn.RNN(*sizes, **settings).double()
    ours.load_state_dict(theirs.state_dict())
    shape = [draw.randint(1, 6), draw.randint(1, 4), sizes[0]]
    x = np.random.randn(*(shape if draw.random() < 0.8 else shape[1:]))
    tensors = [torch.tensor(x, requires_grad=True), cn.tensor(x, requires_grad=True)]
    results = []
    for net, t in zip((theirs, ours), tensors, strict=True):
        output, h = net(t)
        (output.square().sum() + h.sum()).backward()
        grads = [p.grad for p in net.parameters()]
        results.append([r.detach() for r in (output, h, t.grad, *grads)])
    for wanted, got in zip(*results, strict=True):
        assert got.shape == tuple(wanted.shape)
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), 1e-10, 1e-12)


@pytest.mark.parametrize("name", MODULES)
def test_states_and_texts_are_exchanged(name: str) -> None:
    code = MODULES[name].module
    ours, theirs = eval(code, {"nn": nn}), eval(code, {"nn": torch.nn})
    # Ours says which nonlinearity an RNN has; PyTorch's does so for cells only.
    assert repr(ours).replace("2, nonlinearity=relu", "2") == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    state = {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    ours.load_state_dict(theirs.state_dict())
