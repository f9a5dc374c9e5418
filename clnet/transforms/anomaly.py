"""Anomaly mode: compute op by op and name the op that first made a NaN."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clnet import core
from clnet.core import Node, Tensor, record
from clnet.errors import AnomalyError
from clnet.modes import modes, observing
from clnet.records import OPS
from clnet.transforms.reverse import differentiating

_PACKAGE = str(Path(__file__).parents[1])
_recorded_at: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()


def _users_line() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _has_nan(node: Node) -> bool:
    if node.spec.dtype.kind != "f" or not node.spec.size:
        return False
    observers, modes.observers = modes.observers, ()
    try:
        found = Tensor(record(OPS["isnan"], (node,), {})).node
        core.runtime.evaluate([found, node])
        spec = found.spec
        return bool(found.device.download(found.buffer, spec.dtype.storage, spec.shape).any())
    finally:
        modes.observers = observers


def _check(node: Node) -> None:
    _recorded_at[node] = _users_line()
    inputs = node.inputs  # which computing the node gives up
    if node.op is None or node.op.view is not None or not _has_nan(node):
        return
    operands = ", ".join(str(n.spec) for n in inputs)
    given = [i + 1 for i, n in enumerate(inputs) if _has_nan(n)]
    what = f"operand {given[0]} already held NaN" if given else "no operand held any"
    where = _recorded_at[node]
    if differentiating:
        forward = differentiating[-1]
        name = forward.op.name if forward.op is not None else "?"
        where = f"the gradient of {name}, recorded at {_recorded_at.get(forward, where)}"
    raise AnomalyError(f"{node.op.name}({operands}): the result holds NaN, {what}; at {where}")


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Compute each op at once inside this context, and raise at the first that makes a NaN.

    Slow: for debugging. Errors: AnomalyError with the op, its operands, and the line that recorded
    it; for a gradient, the op whose gradient it is and where that was recorded.

    >>> import clnet as cn
    >>> with cn.detect_anomaly():
    ...     cn.log(cn.tensor([-1.0]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    clnet.errors.AnomalyError: log(float32[1]): the result holds NaN, no operand held any; at ...
    """
    with observing(_check):
        yield
