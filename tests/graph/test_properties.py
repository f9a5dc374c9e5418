"""Random graphs: computed lazily, op by op, and without fusion they give the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import clnet as cn
from clnet import core
from clnet.engine import groups, run
from clnet.records import OPS, Op, Spec

FLOAT = Spec((2, 3), cn.float32)


def _arity(op: Op) -> int:
    return len(op.samples[0].args)


def _keeps_float32(op: Op) -> bool:
    if op.expr is None or op.samples[0].attrs or any(a.dtype for a in op.samples[0].args):
        return False
    try:
        return op.spec(*[FLOAT] * _arity(op)) == FLOAT
    except cn.DTypeError:
        return False


# From the table: what takes float32 and gives float32 of the same shape.
POINTWISE = sorted(name for name, op in OPS.items() if _keeps_float32(op))
# Views and reductions, by what they do to a tensor of any shape: (name, function of it).
SHAPING: dict[str, Callable[[cn.Tensor], cn.Tensor]] = {
    "transposed": lambda x: x.T,
    "reversed": lambda x: x.flip(0),
    "every other": lambda x: x[::2],
    "flat": lambda x: x.reshape(-1),
    "new dim": lambda x: x[:, None],
    "repeated": lambda x: x.expand(2, *x.shape),
    "sum": lambda x: x.sum(0, keepdim=True),
    "amax": lambda x: x.amax(-1, keepdim=True),
    "written": lambda x: cn.cat([x, x], 0),
}
STEP = st.tuples(st.sampled_from(POINTWISE + sorted(SHAPING) * 3), st.integers(0, 99))


def build(steps: list[tuple[str, int]]) -> cn.Tensor:
    """Run the steps: each takes values made before, chosen by its number, and makes another."""
    made = [cn.tensor(np.linspace(0.2, 0.9, 12, dtype=np.float32).reshape(3, 4)) for _ in range(2)]
    for name, number in steps:
        x = made[number % len(made)]
        if name in SHAPING:
            usable = x.ndim and x.ndim < 5
            y = SHAPING[name](x) if usable else x
        else:
            op: Any = OPS[name]
            others = [v for v in made if _broadcasts(v, x)]
            operands = [x, *[others[(number // 7) % len(others)]] * (_arity(op) - 1)]
            y = op(*operands)
        if y.node.spec.size <= 500:
            made.append(y)
    total = made[-1].sum()
    for y in made[2:-1]:
        total = total + y.sum()
    return total


def _broadcasts(a: cn.Tensor, b: cn.Tensor) -> bool:
    pairs = zip(a.shape[::-1], b.shape[::-1], strict=False)
    return all(n == m or 1 in (n, m) for n, m in pairs)


def agree(a: np.ndarray, b: np.ndarray) -> None:
    """CPUs fold in the same order, fused or not; GPUs by other trees."""
    if run.target(cn.device()).type == "cpu":
        assert a.tobytes() == b.tobytes()
    else:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(STEP, min_size=3, max_size=9))
def test_lazy_eager_and_unfused_agree(steps: list[tuple[str, int]]) -> None:
    lazy = build(steps).numpy()
    with cn.eager():
        agree(build(steps).numpy(), lazy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "MAX_OPS", 1)
        patch.setattr(core, "runtime", run.Engine())
        agree(build(steps).numpy(), lazy)


def test_the_pool_is_large() -> None:
    assert len(POINTWISE) > 30
    assert {"add", "tanh", "maximum"} <= set(POINTWISE)
