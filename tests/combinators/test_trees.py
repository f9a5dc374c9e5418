"""tree_fold: against recursion over the trees, one call for each height and arity, errors."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import nn


def random_tree(leaves: int, arity: int = 2) -> Any:
    if leaves == 1:
        return (random.randrange(10),)
    cuts = sorted(random.sample(range(1, leaves), min(random.randint(1, arity - 1), leaves - 1)))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, leaves], strict=True)]
    return (random.randrange(10), *(random_tree(n, arity) for n in sizes))


class TreeLSTM(nn.Module):
    """Child-sum Tree-LSTM (Tai et al., 2015), for any number of children."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 3)
        self.x, self.h = nn.Linear(3, 16), nn.Linear(4, 12, bias=False)
        self.f = nn.Linear(4, 4, bias=False)

    def forward(self, x: cn.Tensor, children: Any) -> Any:
        i, o, u, f = self.x(self.embedding(x)).chunk(4, -1)
        if children:
            h = sum(h for h, _ in children)
            di, do, du = self.h(h).chunk(3, -1)
            i, o, u = i + di, o + do, u + du
        c = cn.sigmoid(i) * cn.tanh(u)
        for h, below in children:
            c = c + cn.sigmoid(f + self.f(h)) * below
        return cn.sigmoid(o) * cn.tanh(c), c


def recursed(cell: Any, tree: Any) -> Any:
    below = tuple(recursed(cell, t) for t in tree[1:])
    return cell(cn.tensor([tree[0]]), below)


@pytest.mark.parametrize("arity", [2, 4])
def test_a_fold_is_the_recursion(arity: int) -> None:
    trees = [random_tree(random.randint(1, 9), arity) for _ in range(6)]
    cell = TreeLSTM()
    found = []
    for fold in (lambda: cn.tree_fold(cell, trees),
                 lambda: [cn.cat(s) for s in zip(*(recursed(cell, t) for t in trees), strict=True)],
    ):  # fmt: skip
        cell.zero_grad()
        h, c = fold()
        (h * h + c).sum().backward()
        found.append([h.detach().numpy(), c.detach().numpy()])
        found[-1] += [p.grad.numpy() for p in cell.parameters() if p.grad is not None]
    assert len(found[0]) == 2 + len(list(cell.parameters()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_nodes_of_one_height_are_one_call() -> None:
    trees = [(0, (1, (2,), (3,)), (4, (5,), (6,))), (7, (8,), (9,)), (0,)]
    calls: list[tuple[int, int]] = []

    def cell(x: cn.Tensor, children: Any) -> cn.Tensor:
        calls.append((x.shape[0], len(children)))
        return sum(children, x)

    forest = cn.Forest(trees)
    assert cn.tree_fold(cell, forest).tolist() == [21, 24, 0]
    assert calls == [(8, 0), (3, 2), (1, 2)]  # 7 leaves, rounded up
    assert len(forest) == 3
    each = cn.tree_fold(cell, forest, nodes=True).tolist()
    assert [each[n] for n in forest.roots] == [21, 24, 0]
    for n, below in enumerate(forest.children):
        assert each[n] == forest.values[n] + sum(each[c] for c in below)
        assert all(c < n for c in below)


def test_other_trees_soon_need_no_other_plans() -> None:
    w = cn.ones(2).requires_grad_()
    misses = []
    for _ in range(24):
        w.grad = None
        trees = [random_tree(random.randint(4, 6)) for _ in range(8)]
        cn.tree_fold(lambda x, children: sum(children, x.unsqueeze(1) * w), trees).sum().backward()
        cn.eval(w.grad)
        misses.append(cn.engine_stats()["misses"])
    # The last eight batches make less than half of the plans that eight after the first made.
    assert misses[-1] - misses[-9] < (misses[8] - misses[0]) / 2


def test_cells_that_cannot_be_recorded() -> None:
    def cell(x: cn.Tensor, children: Any) -> cn.Tensor:
        assert x.sum().item() >= 0
        return sum(children, x)

    assert cn.tree_fold(cell, [(1, (2,), (3, (4,)))]).tolist() == [10]
    with cn.eager():
        assert cn.tree_fold(lambda x, c: sum(c, x), [(1, (2,), (3,))]).tolist() == [6]
    with cn.no_grad():
        assert cn.tree_fold(lambda x, c: sum(c, x), [(1, (2,), (3,))]).tolist() == [6]


def test_inputs_of_the_nodes_have_gradients() -> None:
    forest = cn.Forest([(0, (0,), (0, (0,)))])
    x = cn.ones(4, 2).requires_grad_()
    y = cn.tree_fold(lambda x, children: 2 * sum(children, x), forest, x)
    y.sum().backward()
    depth = {forest.roots[0]: 1}
    for n in reversed(range(4)):
        depth.update((c, depth[n] + 1) for c in forest.children[n])
    assert x.grad is not None
    assert x.grad.tolist() == [[2.0 ** depth[n]] * 2 for n in range(4)]


def test_a_deep_tree_needs_no_recursion() -> None:
    tree: Any = (1,)
    for _ in range(3000):
        tree = (1, tree)
    assert len(cn.Forest([tree]).children) == 3001


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: cn.Forest([]), cn.ShapeError, "got no trees"),
        (lambda: cn.Forest([(1, 2)]), cn.DTypeError, r"got 2; needs \(value, tree, tree"),
        (lambda: cn.Forest([()]), cn.DTypeError, r"got \(\); needs"),
        (lambda: cn.Forest([([1, 2], (3,))]), cn.ShapeError, r"values of shapes \[\(\), \(2,\)\]"),
        (lambda: cn.tree_fold(lambda x, c: x, [(1,)], cn.ones(2, 3)), cn.ShapeError,
         r"got input float32\[2, 3\]; needs \[1, \.\.\], a row for each node"),
        (lambda: cn.tree_fold(lambda x, c: x.sum(), [(1,)]), cn.ShapeError,
         r"the cell made int64\[\] of 1 nodes; needs \[1, "),
        (lambda: cn.tree_fold(lambda x, c: 1, [(1,)]), cn.DTypeError, "state has a int"),
        (lambda: cn.tree_fold(lambda x, c: cn.ones(1, 1 + len(c)), [(1, (2,))]), cn.ShapeError,
         r"float32\[1, 1\] of some nodes and float32\[1, 2\] of others"),
    ],
)  # fmt: skip
def test_errors(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()
