"""Generators: `unfold` makes a sequence from a state, until a condition stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from clnet.combinators.sequences import check_next, listed, masked, swapped, tensors_of
from clnet.core import Tensor, evaluate
from clnet.dtypes import bool_
from clnet.errors import DTypeError, ShapeError
from clnet.modes import modes
from clnet.ops.convert import cast
from clnet.ops.create import full
from clnet.ops.join import stack
from clnet.transforms.recorded import recorded
from clnet.transforms.tree import tree_leaves, tree_rebuild

# Steps between two looks at whether all sequences have stopped: looking waits for the device.
_LOOK_EVERY = 16


class Unfolded(NamedTuple):
    """What `unfold` made: outputs [t, b, ..], the last state, and the steps of each sequence."""

    output: Any
    state: Any
    lengths: Tensor | None


def _stopping(
    step: Callable[[Any], tuple[Any, Any]], stop: Callable[[Any], Tensor] | None
) -> Callable[..., tuple[Any, Any, Any]]:
    """Return the step (state, alive) -> (output, state, alive)."""

    def guarded(state: Any, alive: Tensor | None) -> tuple[Any, Any, Any]:
        found = step(state)
        if not isinstance(found, tuple) or len(found) != 2:
            raise DTypeError(f"unfold: the step returned {found!r}; needs (output, state)")
        y, after = found
        outputs = tensors_of("unfold", "the step's output", y)
        check_next("unfold", state, after)
        if stop is None or alive is None:
            return y, after, None
        if any(t.shape[:1] != alive.shape for t in [*outputs, *tree_leaves(after)]):
            raise ShapeError(
                f"unfold: the step made {listed(outputs)} and a state {listed(tree_leaves(after))};"
                f" needs [{alive.shape[0]}, ..], the sequences that stop one by one"
            )
        stopped = stop(y)
        if not isinstance(stopped, Tensor) or (stopped.shape, stopped.dtype) != (
            alive.shape,
            bool_,
        ):
            given = stopped.node.spec if isinstance(stopped, Tensor) else repr(stopped)
            raise ShapeError(f"unfold: stop gave {given}; needs bool{list(alive.shape)}")
        return masked(alive, y, None), masked(alive, after, state), alive & ~stopped

    return guarded


def unfold(
    step: Callable[[Any], tuple[Any, Any]],
    state: Any,
    steps: int,
    *,
    stop: Callable[[Any], Tensor] | None = None,
    batch_first: bool = False,
) -> Unfolded:
    """Generate sequences from a state: an output and the next state at each step.

    step: state -> (output, state), a function or Module of one step of all sequences; what is
    drawn or chosen becomes the next input by being part of the state. state: a tree (nested tuples,
    lists, dicts) of tensors [b, ..]. stop: output -> bool [b], true where this output is the last
    of its sequence; from then on its state stays and its output is 0. At most `steps` steps are
    made, fewer if all sequences stop before. Returns (output, state, lengths): a tree of tensors
    [t, b, ..], or [b, t, ..] with `batch_first`, the last state, and int64 [b], the outputs of each
    sequence, None without `stop`.

    The step is recorded and replayed as the cell of `map_accum` is, with other random numbers each
    time. Errors: ShapeError and DTypeError for a step that changes the state's shape, and for a
    stop that is not bool [b]; ValueError for steps < 1.

    >>> import clnet as cn
    >>> found = cn.unfold(lambda s: (s, s * 2), cn.tensor([1, 3]), 5, stop=lambda y: y > 5)
    >>> found.output.tolist(), found.lengths.tolist()
    ([[1, 3], [2, 6], [4, 0], [8, 0]], [4, 2])
    """
    if steps < 1:
        raise ValueError(f"unfold: got steps={steps}; needs at least one")
    leaves = tensors_of("unfold", "the state", state)
    alive: Tensor | None = None
    if stop is not None:
        if not leaves or not leaves[0].ndim:
            raise ShapeError(f"unfold: got a state {listed(leaves)}; needs tensors [b, ..]")
        alive = full(leaves[0].shape[:1], True, dtype=bool_, device=leaves[0].device)
    apply: Callable[..., tuple[Any, Any, Any]] = _stopping(step, stop)
    if steps > 1:
        apply = recorded(apply, state, alive) or apply
    outputs: list[Any] = []
    running: list[Tensor] = []
    for number in range(1, steps + 1):
        if alive is not None:
            running.append(alive)
        y, state, alive = apply(state, alive)
        outputs.append(y)
        if modes.recorder is None and number % _LOOK_EVERY == 0:
            recent = outputs[-_LOOK_EVERY:], running[-_LOOK_EVERY:]
            made = tree_leaves((recent, state, () if alive is None else alive))
            if not any(t.requires_grad for t in made):
                # No gradient needs what is between: so many steps are one plan, replayed.
                evaluate(*made)
            if alive is not None and not bool(alive.any()):
                break
    lengths = None
    if running:
        lengths = cast(stack(running, 0), dtype=bool_).sum(0)
        if modes.recorder is None:
            outputs = outputs[: max(int(np.max(lengths.numpy(), initial=1)), 1)]
    columns = zip(*(tree_leaves(y) for y in outputs), strict=True)
    joined = tree_rebuild(outputs[0], [stack(list(ys), 0) for ys in columns])
    return Unfolded(swapped(joined, batch_first), state, lengths)
