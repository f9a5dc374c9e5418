"""Every op record against NumPy and against differences: tests made from the table of ops.

Under Oclgrind (`make oclgrind`), a device that checks every memory access and is a thousand times
slower, the forward tests leave out the large size.
"""

from __future__ import annotations

import numpy as np
import pytest

import clnet as cn
from clnet.records import OPS, Op
from clnet.testing import (
    check_op,
    difference,
    gradient_failures,
    has_float64,
    kind_of,
    record_failures,
)
from clnet.testing.forward import accepts

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
        check_op(op, sizes=((), (5, 7)))
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


# Below the least normal float32: a device may compute with them, or take them for 0.
DENORMALS = np.array([1e-40, -1e-40, 2.0**-149, -(2.0**-127)], np.float32)


def test_denormals_are_kept_or_taken_for_zero() -> None:
    results = []
    for name, op in OPS.items():
        sample = op.samples[0]
        usual = (
            op.expr is not None and not sample.attrs and all(a.dtype is None for a in sample.args)
        )
        if usual and accepts(op, sample, cn.float32):
            for position in range(len(sample.args)):
                operands = [np.full(4, a.high, np.float32) for a in sample.args]
                operands[position] = DENORMALS
                y = op(*(cn.tensor(o) for o in operands))
                results.append((name, position, op, operands, y))
    assert len(results) > 50
    cn.eval(*(y for *_, y in results))
    for name, position, op, operands, y in results:
        allowed = []
        for value in (DENORMALS, 0 * DENORMALS):
            operands[position] = value
            wide = [o.astype(np.float64) for o in operands]
            with np.errstate(all="ignore"):
                allowed.append(np.asarray(op.reference(*wide)))
        for i, got in enumerate(y.numpy()):
            ok = any(
                difference(np.array([got]), a[i : i + 1], y.dtype, kind_of(op, y.dtype)) is None
                for a in allowed
            )
            assert ok, (
                f"{name} operand {position + 1} at {DENORMALS[i]}: {got}; needs one of {allowed}"
            )
