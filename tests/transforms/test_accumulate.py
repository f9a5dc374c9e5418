"""Gradients of parts are written into one tensor where they do not overlap, and added elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import clnet as cn
from clnet.core import Node
from clnet.records import OPS

WEIGHTS = np.arange(1.0, 25.0, dtype=np.float32).reshape(4, 6)

USES: dict[str, tuple[Callable[[cn.Tensor], list[cn.Tensor]], bool]] = {
    "rows": (lambda x: [x[t] for t in (0, 1, 3)], True),
    "unbind": (lambda x: list(x.unbind(1)), True),
    "split": (lambda x: list(x.split(2, 1)), True),
    "backwards": (lambda x: [x[0:2], x[3:1:-1]], True),
    "the same part": (lambda x: [x[1], x[1]], False),
    "overlapping": (lambda x: [x[0:3], x[2:4]], False),
    "interleaved": (lambda x: [x[::2], x[1::2]], False),
    "parts and the whole": (lambda x: [x[0], x * 1, x[2]], True),
    "empty": (lambda x: [x[0:0], x[1:2], x[3:]], True),
}


def ancestors(node: Node) -> list[Node]:
    seen: dict[int, Node] = {}
    stack = [node]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack.extend(node.inputs)
    return list(seen.values())


@pytest.mark.parametrize("name", USES)
def test_parts(name: str) -> None:
    use, joined = USES[name]
    x = cn.ones(4, 6, requires_grad=True)
    wanted = np.zeros((4, 6), np.float32)
    # The gradient by NumPy: each use adds its weights where the numbers say that it reads.
    numbers = use(cn.arange(24).reshape(4, 6))
    parts = use(x)
    total = cn.tensor(0.0)
    for i, (part, number) in enumerate(zip(parts, numbers, strict=True)):
        weights = WEIGHTS.reshape(-1)[number.numpy()] * (i + 1)
        np.add.at(wanted.reshape(-1), number.numpy(), weights)
        total = total + (part * cn.tensor(weights)).sum()
    total.backward()
    assert x.grad is not None
    writes = [n for n in ancestors(x.grad.node) if n.op is OPS["place"]]
    np.testing.assert_array_equal(x.grad.numpy(), wanted)
    assert (max(len(n.inputs) for n in writes) > 2) == joined


def test_second_derivative() -> None:
    x = cn.tensor([1.0, 2.0, 3.0])

    def f(x: cn.Tensor) -> cn.Tensor:
        a, b, c = x.unbind(0)
        return a * b * c + a * a * a

    g = cn.grad(lambda x: cn.grad(f)(x).sum())(x)
    np.testing.assert_allclose(g.numpy(), [2 + 3 + 6, 3 + 1, 2 + 1])
