"""Adam and its kin against PyTorch's numbers (steps.json), and going on from PyTorch's state."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import optim
from tests.optim.make_steps import CASES, GRADIENTS, START

pytestmark = pytest.mark.skipif(
    not cn.device().caps.fp64, reason="the saved numbers are float64, which this device lacks"
)
SAVED = json.loads(Path(__file__).with_name("steps.json").read_text())["cases"]


def made(name: str, dtype: Any = cn.float64) -> tuple[cn.Tensor, optim.Optimizer]:
    kind, settings = CASES[name]
    p = cn.tensor(START, dtype=dtype, requires_grad=True)
    return p, getattr(optim, kind)([p], **copy.deepcopy(settings))


def train(p: cn.Tensor, optimizer: optim.Optimizer, steps: slice) -> None:
    for g in GRADIENTS[steps]:
        p.grad = cn.tensor(g, dtype=p.dtype)
        optimizer.step()


def test_every_case_is_saved() -> None:
    assert set(SAVED) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_steps(name: str) -> None:
    p, optimizer = made(name)
    for step, wanted in enumerate(SAVED[name]["values"]):
        train(p, optimizer, slice(step, step + 1))
        np.testing.assert_allclose(p.detach().numpy(), wanted, rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_state_has_pytorchs_names_and_is_taken_over(name: str) -> None:
    p, optimizer = made(name)
    train(p, optimizer, slice(0, 3))
    state = optimizer.state_dict()["state"][0]
    saved = SAVED[name]["state"]
    assert set(state) == set(saved)
    # PyTorch keeps `step` in a float tensor.
    given = {
        k: cn.tensor(v, dtype=cn.float32 if k == "step" else cn.float64) for k, v in saved.items()
    }
    q, other = made(name)
    with cn.no_grad():
        q.copy_(cn.tensor(SAVED[name]["values"][2], dtype=cn.float64))
    groups = other.state_dict()["param_groups"]
    other.load_state_dict({"state": {0: given}, "param_groups": groups})
    train(q, other, slice(3, None))
    np.testing.assert_allclose(q.detach().numpy(), SAVED[name]["values"][-1], rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_many_parameters_of_mixed_groups_train_as_one_would(name: str) -> None:
    kind, settings = CASES[name]
    single = []
    for lr in (0.1, 0.2):
        p, _ = made(name)
        train(p, getattr(optim, kind)([p], **{**settings, "lr": lr}), slice(None))
        single.append(p.detach().numpy())
    ps = [cn.tensor(START, dtype=cn.float64, requires_grad=True) for _ in range(30)]
    groups = [{"params": ps[::2], "lr": 0.1}, {"params": ps[1::2], "lr": 0.2}]
    optimizer = getattr(optim, kind)(groups, **settings)
    for g in GRADIENTS:
        for p in ps:
            p.grad = cn.tensor(g, dtype=cn.float64)
        optimizer.step()
    for i, p in enumerate(ps):
        np.testing.assert_array_equal(p.detach().numpy(), single[i % 2])


def test_a_parameter_without_gradient_waits() -> None:
    p, q = (cn.tensor(START, requires_grad=True) for _ in range(2))
    optimizer = optim.Adam([p, q], lr=0.1)
    for step, g in enumerate(GRADIENTS):
        p.grad = cn.tensor(g, dtype=cn.float32)
        q.grad = cn.tensor(g, dtype=cn.float32) if step > 1 else None
        optimizer.step()
    assert optimizer.state[p]["step"] == 5
    assert optimizer.state[q]["step"] == 3


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("Adam", {"lr": -1.0}, "got lr=-1.0"),
        ("Adam", {"betas": (1.0, 0.9)}, "got betas"),
        ("AdamW", {"eps": -1e-8}, "AdamW: got eps"),
        ("RMSprop", {"alpha": -0.1}, "got alpha"),
        ("Adagrad", {"lr_decay": -0.1}, "got lr_decay"),
        ("Adagrad", {"lr": float("nan")}, "got lr=nan"),
    ],
)
def test_settings_that_make_no_sense(kind: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(optim, kind)([cn.tensor(START, requires_grad=True)], **settings)
