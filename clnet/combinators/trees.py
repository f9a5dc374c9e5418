"""Recursive nets: a cell folded over trees, all nodes of one height in one call for each arity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from clnet.combinators.sequences import listed, tensors_of
from clnet.core import Tensor
from clnet.errors import DTypeError, ShapeError
from clnet.ops.create import as_tensor, tensor
from clnet.ops.index import take
from clnet.ops.join import cat
from clnet.transforms.tree import tree_leaves, tree_map, tree_rebuild


class _Group(NamedTuple):
    """Nodes of one height and arity, which are neighbours in the order of a forest."""

    height: int
    arity: int
    start: int
    stop: int


class Forest:
    """Trees, laid out for `tree_fold`.

    trees: each `(value, tree, tree, ...)`, a value and the subtrees; a leaf is `(value,)`. Values
    are numbers or arrays of one shape, for instance indices of words.

    values    array [n, ..] of all nodes, in the order of heights: a node comes after its children.
    children  for each node the numbers of its children.
    roots     for each tree the number of its root.

    Errors: DTypeError for what is no tree; ShapeError for no trees, or values of unequal shapes.

    >>> forest = Forest([(5, (1,), (2,)), (3,)])
    >>> forest.values.tolist(), forest.children, forest.roots
    ([1, 2, 3, 5], [(), (), (), (0, 1)], [3, 2])
    """

    def __init__(self, trees: Sequence[Any]) -> None:
        values: list[Any] = []
        children: list[list[int]] = []
        tops: list[int] = []
        for tree in trees:
            # Nodes are entered in the order of the tree, and so that none is a call deeper.
            tops.append(len(values))
            stack: list[tuple[Any, int | None]] = [(tree, None)]
            while stack:
                node, parent = stack.pop()
                if not isinstance(node, (tuple, list)) or not node:
                    raise DTypeError(f"Forest: got {node!r}; needs (value, tree, tree, ...)")
                number = len(values)
                if parent is not None:
                    children[parent].append(number)
                values.append(node[0])
                children.append([])
                stack.extend((below, number) for below in reversed(node[1:]))
        if not values:
            raise ShapeError("Forest: got no trees; needs at least one")
        heights = [0] * len(values)
        for number in reversed(range(len(values))):  # children have higher numbers here
            heights[number] = 1 + max((heights[c] for c in children[number]), default=-1)
        kinds = [(heights[n], len(children[n])) for n in range(len(values))]
        order = sorted(range(len(values)), key=lambda n: kinds[n])
        place = {n: position for position, n in enumerate(order)}
        shapes = {np.shape(v) for v in values}
        if len(shapes) > 1:
            raise ShapeError(f"Forest: got values of shapes {sorted(shapes)}; needs one shape")
        self.values = np.asarray([values[n] for n in order])
        self.children = [tuple([place[c] for c in children[n]]) for n in order]
        self.roots = [place[n] for n in tops]
        self.groups: list[_Group] = []
        for position, n in enumerate(order):
            if self.groups and self.groups[-1][:2] == kinds[n]:
                self.groups[-1] = self.groups[-1]._replace(stop=position + 1)
            else:
                self.groups.append(_Group(*kinds[n], position, position + 1))

    def __len__(self) -> int:
        return len(self.roots)


def tree_fold(
    cell: Callable[[Any, tuple[Any, ...]], Any],
    forest: Forest | Sequence[Any],
    input: Any = None,
    *,
    nodes: bool = False,
) -> Any:
    """Fold trees from the leaves to the roots: a recursive net.

    cell: (x, children) -> state, a function or Module of any number of nodes with the same number
    of children: x [n, ..], and `children` a tuple of states, one for each child; a state is a tree
    (nested tuples, lists, dicts) of tensors [n, ..]. It is called once for all nodes of one height
    and number of children, in whichever of the trees they are; for leaves `children` is (). forest:
    a `Forest`, or the trees to make one of; x are its values, or else the rows of `input`, tensors
    [nodes, ..] in the forest's order. Returns the states of the roots [trees, ..], or with `nodes`
    those of all nodes in the forest's order.

    Errors: as `Forest`; ShapeError and DTypeError for an input that does not have a row for each
    node, and for a cell whose states differ from group to group.

    >>> import clnet as cn
    >>> add = lambda x, children: sum(children, x)
    >>> cn.tree_fold(add, [(5, (1,), (2,)), (3,)]).tolist()
    [8, 3]
    """
    if not isinstance(forest, Forest):
        forest = Forest(forest)
    if input is None:
        input = tensor(forest.values)
    count = len(forest.children)
    leaves = tensors_of("tree_fold", "the input", input)
    if not leaves or any(x.shape[:1] != (count,) for x in leaves):
        raise ShapeError(
            f"tree_fold: got input {listed(leaves)}; needs [{count}, ..], a row for each node"
        )
    device = leaves[0].device
    # The states that are still to be read, and where the state of each node is among them.
    pool: Any = None
    place: dict[int, int] = {}
    made: list[Any] = []
    heights = sorted({group.height for group in forest.groups})
    for height in heights:
        groups = [group for group in forest.groups if group.height == height]
        read = [
            forest.children[n][k]
            for group in groups
            for k in range(group.arity)
            for n in range(group.start, group.stop)
        ]
        taken = set(read)
        kept = [n for n in place if n not in taken]
        moved = _rows(pool, [place[n] for n in [*read, *kept]], device)
        at, states = 0, []
        for group in groups:
            n = group.stop - group.start
            x = _part(input, group.start, n)
            below = tuple([_part(moved, at + k * n, n) for k in range(group.arity)])
            at += n * group.arity
            states.append(_checked(cell(x, below), n, made))
            made.append(states[-1])
        new = [n for group in groups for n in range(group.start, group.stop)]
        parts = [_part(moved, at, len(kept))] if kept else []
        pool = _joined([*parts, *states])
        place = {n: position for position, n in enumerate([*kept, *new])}
    if nodes:
        return _joined(made)
    return _rows(pool, [place[n] for n in forest.roots], device)


def _rows(states: Any, rows: Sequence[int], device: Any) -> Any:
    """Return rows of the states, in another order."""
    if not rows:
        return None
    at = as_tensor(np.array(rows, np.int32), device=device)
    return tree_map(lambda s: take(s, at, 0), states)


def _part(states: Any, start: int, size: int) -> Any:
    return tree_map(lambda s: s[start : start + size], states)


def _joined(states: Sequence[Any]) -> Any:
    columns = zip(*map(tree_leaves, states), strict=True)
    return tree_rebuild(states[0], [cat(list(parts), 0) for parts in columns])


def _checked(state: Any, n: int, made: Sequence[Any]) -> Any:
    """Return a group's states, which are like those of the groups before."""
    found = tensors_of("tree_fold", "the cell's state", state)
    if not found or any(s.shape[:1] != (n,) for s in found):
        raise ShapeError(
            f"tree_fold: the cell made {listed(found)} of {n} nodes; needs [{n}, ..], a row for "
            "each of them"
        )
    if made:
        first: list[Tensor] = tree_leaves(made[0])
        kinds = [[(s.shape[1:], s.dtype) for s in states] for states in (first, found)]
        if kinds[0] != kinds[1]:
            raise ShapeError(
                f"tree_fold: the cell made {listed(first)} of some nodes and {listed(found)} of "
                "others; needs states of the same sizes and dtypes"
            )
    return state
