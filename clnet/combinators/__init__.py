"""Recurrence as functions of cells, on batches of sequences of unequal length, and on trees.

A network is a functional program: an encoder is a `fold`, a generator an `unfold`, a recurrent
layer a `map_accum`, a recursive net a `tree_fold`, a convolution a `window_map`. Each takes a cell,
a plain function or a Module of one step, and gradients flow through all.
"""

from clnet.combinators.generators import Unfolded, unfold
from clnet.combinators.sequences import bidirectional, fold, map_accum, scan
from clnet.combinators.trees import Forest, tree_fold
from clnet.combinators.windows import window_map

__all__ = [
    "Forest",
    "Unfolded",
    "bidirectional",
    "fold",
    "map_accum",
    "scan",
    "tree_fold",
    "unfold",
    "window_map",
]
