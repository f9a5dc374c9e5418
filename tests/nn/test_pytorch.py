"""Functions and modules give the results and gradients that were saved from PyTorch."""

from __future__ import annotations

import json

import numpy as np
import pytest

import clnet as cn
from clnet import functional, nn
from tests.nn.cases import CASES, SAVED, run

# All cases are computed at once, in one worker: the kernels are then built as one program.
pytestmark = pytest.mark.xdist_group("pytorch")

# PyTorch's gradient of hardsigmoid has 1 / 6 as float32, also in float64.
_RTOL = {"hardsigmoid(x)": 1e-7}
WANTED = json.loads(SAVED.read_text())


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, cn.Tensor]]:
    table = {
        name: run(name, nn, functional, cn.tensor, nn.Module.load_state_dict) for name in CASES
    }
    cn.eval(*(t for values in table.values() for t in values.values()))
    return table


@pytest.mark.parametrize("name", CASES)
def test_saved(name: str, found: dict[str, dict[str, cn.Tensor]]) -> None:
    got, wanted = found[name], WANTED[name]
    assert sorted(got) == sorted(wanted)
    for key, value in wanted.items():
        assert got[key].dtype is cn.float64
        assert got[key].shape == np.shape(value), key
        np.testing.assert_allclose(got[key].numpy(), value, _RTOL.get(name, 1e-9), 1e-12)


def test_every_saved_case_is_used() -> None:
    assert list(WANTED) == list(CASES)
