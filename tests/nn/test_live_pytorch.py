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


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("seed", range(8))
def test_random_recurrent_net(seed: int, kind: str, dtype: str) -> None:
    draw = random.Random(seed)
    settings: dict[str, Any] = {
        "num_layers": draw.randint(1, 3),
        "bias": draw.random() < 0.7,
        "batch_first": draw.random() < 0.5,
        "bidirectional": draw.random() < 0.5,
    }
    sizes = draw.randint(1, 5), draw.randint(2, 5)
    if kind == "RNN":
        settings["nonlinearity"] = draw.choice(["tanh", "relu"])
    if kind == "LSTM" and draw.random() < 0.5:
        settings["proj_size"] = draw.randint(1, sizes[1] - 1)
    theirs = getattr(torch.nn, kind)(*sizes, **settings).to(getattr(torch, dtype))
    ours = getattr(nn, kind)(*sizes, **settings).to(getattr(cn, dtype))
    ours.load_state_dict(theirs.state_dict())
    time, batch = draw.randint(1, 6), draw.randint(1, 4)
    shape = (batch, time) if settings["batch_first"] else (time, batch)
    packed = draw.random() < 0.5
    x = np.random.randn(*shape, sizes[0]).astype(dtype)
    lengths = [draw.randint(1, time) for _ in range(batch)] if packed else None
    results = []
    for net, tensor in ((theirs, torch.tensor), (ours, cn.tensor)):
        t = tensor(x, requires_grad=True)
        if net is ours:
            output, states = net(t, lengths=lengths)
        elif packed:
            utils = torch.nn.utils.rnn
            options = {"batch_first": settings["batch_first"]}
            given = utils.pack_padded_sequence(t, lengths, enforce_sorted=False, **options)
            output, states = net(given)
            output = utils.pad_packed_sequence(output, total_length=time, **options)[0]
        else:
            output, states = net(t)
        states = states if isinstance(states, tuple) else (states,)
        total = (output * output).sum()
        for state in states:
            total = total + state.sum()
        total.backward()
        grads = [p.grad for p in net.parameters()]
        results.append([r.detach() for r in (output, *states, t.grad, *grads)])
    rtol, atol = (1e-10, 1e-12) if dtype == "float64" else (2e-4, 2e-5)
    for wanted, got in zip(*results, strict=True):
        assert got.shape == tuple(wanted.shape)
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol, atol)


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
