"""Every op record against NumPy and against differences: tests made from the table of ops.

Under Oclgrind, a device that checks every memory access and is a thousand times slower, forward
tests make few calls: see `make oclgrind`.
"""

from __future__ import annotations

import pytest

import clnet as cn
from clnet.records import OPS, Op
from clnet.testing import (
    check_op,
    gradient_failures,
    has_float64,
    record_failures,
)

RECORDS = [pytest.param(op, id=name) for name, op in OPS.items()]
DIFFERENTIABLE = [
    pytest.param(op, id=name)
    for name, op in OPS.items()
    if op.vjp is not None and any(s.grad for s in op.samples)
]


@pytest.mark.oclgrind
@pytest.mark.parametrize("op", RECORDS)
def test_forward(op: Op) -> None:
    if cn.device().platform == "Oclgrind":
        check_op(op, (cn.float32, cn.int32), ("contiguous", "stepped"), sizes=((), (5, 7)))
    else:
        check_op(op)


@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_gradients(op: Op) -> None:
    if not has_float64():
        pytest.skip("the device has no float64, without which differences are noise")
    assert gradient_failures(op) == []


@pytest.mark.parametrize("op", RECORDS)
def test_record(op: Op) -> None:
    assert record_failures(op) == []


def test_every_gradient_rule_is_tested() -> None:
    untested = [
        name
        for name, op in OPS.items()
        if op.vjp is not None and not any(s.grad for s in op.samples)
    ]
    assert untested == []
