"""Checks of what a record says besides its result: views, writes through views, operator, cost."""

from __future__ import annotations

import operator
from math import isfinite
from typing import Any

import numpy as np

from clnet.core import Tensor, evaluate
from clnet.records import Op, Sample
from clnet.testing.forward import accepts, make_case, supported_dtypes
from clnet.testing.operands import host_values, laid_out
from clnet.testing.tolerance import difference


def _sample_failures(op: Op, sample: Sample, number: int) -> list[str]:
    dtype = next(
        (d for d in reversed(supported_dtypes()) if d.kind == "f" and accepts(op, sample, d)),
        next((d for d in supported_dtypes() if accepts(op, sample, d)), supported_dtypes()[0]),
    )
    random = np.random.default_rng(number)
    case = make_case(op, sample, [dtype] * len(sample.args), "contiguous", random)
    node = case.result.node
    wrong = []
    if isinstance(op.vjp, tuple) and len(op.vjp) != len(node.inputs):
        wrong.append(f"{len(op.vjp)} gradient rules for {len(node.inputs)} operands")
    if op.cost is not None:
        cost = op.cost(node.spec, *(n.spec for n in node.inputs), **case.attrs)
        if not (len(cost) == 2 and all(isfinite(c) and c >= 0 for c in cost)):
            wrong.append(f"cost {cost}; needs finite (flops, bytes)")
        # A result that was not there before has to be written.
        if (
            op.view is None
            and not op.overwrites
            and node.spec.size
            and cost[1] < node.spec.size * node.spec.dtype.itemsize
        ):
            wrong.append(f"cost {cost}: fewer bytes than the result {node.spec} has")
    if op.view is not None and node.buffer is not node.inputs[0].buffer:
        wrong.append("a view of a contiguous value copies it")
    if op.put is not None:
        wrong += _put_failures(op, case.values[0], node.inputs[0].spec.dtype, case.attrs, random)
    return [f"{op.name} {case.title}: {w}" for w in wrong]


def _put_failures(
    op: Op, base: np.ndarray, dtype: Any, attrs: dict[str, Any], random: np.random.Generator
) -> list[str]:
    """Check that a value written through a view is where the view reads, and nowhere else."""
    # The view's reference, applied to positions, says which elements are written.
    positions = op.reference(np.arange(base.size).reshape(base.shape), **attrs)
    value = random.uniform(5, 9, np.shape(positions)).astype(base.dtype)
    expected = np.array(base)
    expected.reshape(-1)[np.asarray(positions).reshape(-1)] = value.reshape(-1)
    assert op.put is not None
    made = op.put(laid_out(base, dtype), laid_out(value, dtype), **attrs)
    evaluate(made)
    wrong = difference(host_values(made), expected, dtype, "exact")
    return [] if wrong is None else [f"put: {wrong}"]


def record_failures(op: Op) -> list[str]:
    """Return in words what a record says that is not so, its result and gradients left out."""
    wrong = []
    if not op.samples:
        wrong.append(f"{op.name}: has no samples, so nothing tests it")
    if not op.doc.endswith(".") or "\n" in op.doc:
        wrong.append(f"{op.name}: the doc line {op.doc!r} is not one sentence")
    if op.method and not hasattr(Tensor, op.name):
        wrong.append(f"{op.name}: is a method, but Tensor has none of that name")
    if op.symbol and op.samples:
        wrong += _symbol_failures(op)
    for number, sample in enumerate(op.samples):
        wrong += _sample_failures(op, sample, number)
    return wrong


def _symbol_failures(op: Op) -> list[str]:
    """Check that Python's operator records the op, or gives its value."""
    sample = op.samples[0]
    dtype = next(d for d in reversed(supported_dtypes()) if accepts(op, sample, d))
    case = make_case(op, sample, [dtype] * len(sample.args), "contiguous", np.random.default_rng(0))
    names = (f"__{op.symbol}__", op.symbol)
    function = next((getattr(operator, n) for n in names if hasattr(operator, n)), None)
    if function is None:
        return [f"{op.name}: Python has no operator {op.symbol!r}"]
    by_symbol = function(*(n.tensor() for n in case.result.node.inputs))
    evaluate(by_symbol, case.result)
    wrong = difference(host_values(by_symbol), host_values(case.result), case.result.dtype, "exact")
    return [] if wrong is None else [f"{op.name}: operator {op.symbol}: {wrong}"]
