"""Nested tuples, lists and dicts of tensors, as arguments and results of transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves of nested tuples, lists and dicts, in order.

    >>> tree_leaves((1, {"a": 2, "b": [3]}))
    [1, 2, 3]
    """
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in tree_leaves(value)]
    if isinstance(tree, (tuple, list)):
        return [leaf for value in tree for leaf in tree_leaves(value)]
    return [tree]


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return the tree with `function` applied to every leaf.

    >>> tree_map(lambda x: x + 1, (1, {"a": 2}))
    (2, {'a': 3})
    """
    if isinstance(tree, dict):
        return {key: tree_map(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(function, value) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(tree_map(function, value) for value in tree)
    return function(tree)


def tree_rebuild(tree: Any, leaves: Iterable[Any]) -> Any:
    """Return the tree with other leaves, given in the order of `tree_leaves`.

    >>> tree_rebuild((1, {"a": 2}), [3, 4])
    (3, {'a': 4})
    """
    remaining = iter(leaves)
    return tree_map(lambda _: next(remaining), tree)
