"""Recursive nets: a cell folded over trees, all nodes of one height in one call for each arity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from clnet.combinators.sequences import listed, tensors_of
from clnet.core import Tensor, evaluate
from clnet.errors import DTypeError, ShapeError
from clnet.ops.create import tensor
from clnet.ops.gather import take
from clnet.ops.join import cat
from clnet.transforms.checkpoint import checkpoint
from clnet.transforms.recorded import Recorded, recorded
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
    and number of children, in whichever of the trees they are; for leaves `children` is (). n is
    rounded up to 1, 2, 3, 4, 6, 8, 12, .. by repeating a row, whose results are dropped, so that
    other trees make no other shapes. Heights are computed one after the other, and again when the
    gradient comes by (`cn.checkpoint`), unless the cell looks at values or changes tensors. forest:
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
    count = len(forest.children)
    device = None
    if input is not None:
        leaves = tensors_of("tree_fold", "the input", input)
        if not leaves or any(x.shape[:1] != (count,) for x in leaves):
            raise ShapeError(
                f"tree_fold: got input {listed(leaves)}; needs [{count}, ..], a row for each node"
            )
        device = leaves[0].device
    levels = _levels(forest)
    xs = _inputs(forest, input, levels, device)
    # The states that are still to be read; each level makes the next pool of them.
    pool: Any = None
    made: list[Any] = []
    apply: dict[Any, Callable[..., Any]] = {}
    for level, x in zip(levels, xs, strict=True):
        given = (pool, x, None if pool is None else tensor(level.rows, device=device))

        def step(pool: Any, xs: Any, rows: Any, level: _Level = level) -> Any:
            pool, states = _step(cell, level, pool, xs, rows)
            return pool, states if nodes else []

        key = (level.shape, None if pool is None else tree_leaves(pool)[0].shape[0])
        if key not in apply:
            apply[key] = recorded(step, *given) or step
        known = apply[key]
        if isinstance(known, Recorded):
            pool, states = checkpoint(known, *given)
            evaluate(*tree_leaves((pool, states)))
        else:
            pool, states = known(*given)
        made += states
    if nodes:
        sizes = [group.stop - group.start for group in forest.groups]
        return _joined([_part(s, 0, n) for s, n in zip(made, sizes, strict=True)])
    place = levels[-1].place
    rows = np.array([place[n] for n in forest.roots], np.int32)
    return _rows(pool, tensor(rows, device=device))


class _Level(NamedTuple):
    """What happens at one height.

    groups   (arity, rows) of each group, the rows rounded up.
    kept     states that are carried along, rounded up.
    rows     where in the pool the states are that are read, child by child of each group, and then
             those that are carried along.
    place    by number of a node: where its state lies in the pool that this level makes.
    """

    groups: tuple[tuple[int, int], ...]
    kept: int
    rows: np.ndarray
    place: dict[int, int]

    @property
    def shape(self) -> Any:
        """Equal for levels that one recording serves, with pools of one size."""
        return self.groups, self.kept, len(self.rows)


def _rounded(n: int) -> int:
    """Return the next of 1, 2, 3, 4, 6, 8, 12, 16, ..: sizes that soon have all been planned."""
    power = 1 << max(n - 1, 0).bit_length()
    return 3 * power // 4 if 4 * n <= 3 * power and power > 2 else power


def _filled(rows: list[int]) -> list[int]:
    """Return rows, the first repeated at the end up to a rounded number of them."""
    return rows + rows[:1] * (_rounded(len(rows)) - len(rows)) if rows else rows


def _levels(forest: Forest) -> list[_Level]:
    levels: list[_Level] = []
    place: dict[int, int] = {}
    for height in range(forest.groups[-1].height + 1):
        groups = [group for group in forest.groups if group.height == height]
        numbers = [range(group.start, group.stop) for group in groups]
        below = [
            [forest.children[n][k] for n in of]
            for group, of in zip(groups, numbers, strict=True)
            for k in range(group.arity)
        ]
        taken = {n for column in below for n in column}
        kept = [n for n in place if n not in taken]
        rows = [place[n] for column in [*map(_filled, below), _filled(kept)] for n in column]
        now = {n: position for position, n in enumerate(kept)}
        start = _rounded(len(kept)) if kept else 0
        for of in numbers:
            now.update((n, start + i) for i, n in enumerate(of))
            start += _rounded(len(of))
        kinds = tuple([(g.arity, _rounded(len(of))) for g, of in zip(groups, numbers, strict=True)])
        kept_rows = _rounded(len(kept)) if kept else 0
        levels.append(_Level(kinds, kept_rows, np.array(rows, np.int32), now))
        place = now
    return levels


def _inputs(forest: Forest, input: Any, levels: Sequence[_Level], device: Any) -> list[list[Any]]:
    """Return for each level the inputs of its groups, with rows repeated as in `_filled`."""
    chosen = [n for g in forest.groups for n in _filled(list(range(g.start, g.stop)))]
    rows = np.array(chosen, np.int32)
    if input is None:
        every: Any = tensor(forest.values[rows])
    else:
        every = _rows(input, tensor(rows, device=device))
        evaluate(*tree_leaves(every))
    start, found = 0, []
    for level in levels:
        parts = []
        for _, n in level.groups:
            parts.append(_part(every, start, n))
            start += n
        found.append(parts)
    return found


def _step(cell: Any, level: _Level, pool: Any, xs: Sequence[Any], rows: Any) -> Any:
    """Return the next pool, and the states of the level's groups."""
    moved = _rows(pool, rows) if len(level.rows) else None
    at, states = 0, []
    for (arity, n), x in zip(level.groups, xs, strict=True):
        below = tuple([_part(moved, at + k * n, n) for k in range(arity)])
        at += n * arity
        state = cell(x, below)
        found = tensors_of("tree_fold", "the cell's state", state)
        if not found or any(s.shape[:1] != (n,) for s in found):
            raise ShapeError(
                f"tree_fold: the cell made {listed(found)} of {n} nodes; needs [{n}, ..], a row "
                "for each of them"
            )
        states.append(state)
    _check_like([] if moved is None else [moved], states)
    return _joined([*([_part(moved, at, level.kept)] if level.kept else []), *states]), states


def _rows(states: Any, rows: Tensor) -> Any:
    """Return rows of the states, in another order."""
    return tree_map(lambda s: take(s, rows, 0), states)


def _part(states: Any, start: int, size: int) -> Any:
    return tree_map(lambda s: s[start : start + size], states)


def _joined(states: Sequence[Any]) -> Any:
    columns = zip(*map(tree_leaves, states), strict=True)
    return tree_rebuild(states[0], [cat(list(parts), 0) for parts in columns])


def _check_like(*states: Sequence[Any]) -> None:
    """Raise ShapeError unless states of all groups have the same sizes and dtypes."""
    every = [tree_leaves(state) for some in states for state in some]
    kinds = [[(s.shape[1:], s.dtype) for s in found] for found in every]
    for found, kind in zip(every, kinds, strict=True):
        if kind != kinds[0]:
            raise ShapeError(
                f"tree_fold: the cell made {listed(every[0])} of some nodes and {listed(found)} of "
                "others; needs states of the same sizes and dtypes"
            )
