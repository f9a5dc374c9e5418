"""Recurrence over sequences: fold, scan, map_accum, and two of them zipped.

Axis letters: t time, b batch. A cell is a function or Module of one step of all sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from clnet.combinators.layers import layer_of, run_layer
from clnet.core import Tensor
from clnet.errors import DTypeError, ShapeError
from clnet.functional.recurrent import checked_lengths
from clnet.nn.cell import GRUCell, RNNCell, RNNCellBase
from clnet.ops.create import tensor
from clnet.ops.elementwise import where
from clnet.ops.join import cat, stack
from clnet.ops.random import rewind, used_blocks
from clnet.transforms.checkpoint import checkpoint
from clnet.transforms.recorded import recorded
from clnet.transforms.tree import tree_leaves, tree_map, tree_rebuild

Step = Callable[[Any, Any], tuple[Any, Any]]
# Nodes of a walk that are planned together: planning takes longer than in proportion. 250 steps of
# an LSTM cell written by hand took 3.1 s a training step in one part, 0.1 s in five (2 CPU cores).
_NODES_TOGETHER = 1000


class _Sequences(NamedTuple):
    """Sequences to walk along: a tree of tensors [t, b, ..], and where they have not ended."""

    input: Any
    running: Tensor | None

    @property
    def time(self) -> int:
        """Number of steps."""
        steps: int = tree_leaves(self.input)[0].shape[0]
        return steps

    def slices(self, size: int, reverse: bool) -> list[slice]:
        """Return the parts of `size` steps, in the order of the walk."""
        starts = range(0, self.time, size)
        order = reversed(starts) if reverse else starts
        return [slice(start, min(start + size, self.time)) for start in order]

    def at(self, t: int) -> tuple[Any, Any]:
        """Return the input of a step, and which sequences run in it."""
        running = None if self.running is None else self.running[t]
        return tree_map(lambda x: x[t], self.input), running

    def part(self, at: slice) -> _Sequences:
        """Return the steps of a slice."""
        running = None if self.running is None else self.running[at]
        return _Sequences(tree_map(lambda x: x[at], self.input), running)


def tensors_of(name: str, what: str, tree: Any) -> list[Tensor]:
    """Return the leaves of a tree of tensors. Errors: DTypeError for any other leaf."""
    leaves = tree_leaves(tree)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise DTypeError(
                f"{name}: {what} has a {type(leaf).__name__}; needs tensors, also in tuples, "
                "lists and dicts"
            )
    return leaves


def listed(specs: Sequence[Tensor]) -> str:
    """Return the shapes and dtypes of tensors, for messages."""
    return ", ".join(str(t.node.spec) for t in specs) or "nothing"


def swapped(tree: Any, batch_first: bool) -> Any:
    """Return a tree of tensors with time and batch swapped, if the batch comes first."""
    return tree_map(lambda x: x.transpose(0, 1), tree) if batch_first else tree


def running_mask(name: str, lengths: Any, time: int, batch: int, device: Any) -> Tensor:
    """Return where sequences have not ended: bool [t, b].

    Errors: ShapeError unless lengths are b integers; ValueError for lengths not in 1 to t.
    """
    given = checked_lengths(name, lengths, time, batch)
    return tensor(np.arange(time)[:, None] < given, device=device)


def masked(running: Tensor, new: Any, old: Any) -> Any:
    """Return a tree of tensors [b, ..], new where a sequence runs, else old (or 0)."""
    olds = [False] * len(tree_leaves(new)) if old is None else tree_leaves(old)
    return tree_rebuild(
        new,
        [
            where(running.reshape(*running.shape, *(1,) * (n.ndim - running.ndim)), n, o)
            for n, o in zip(tree_leaves(new), olds, strict=True)
        ],
    )


def _sequences(name: str, input: Any, lengths: Any, batch_first: bool) -> _Sequences:
    """Check the input of a walk."""
    leaves = tensors_of(name, "the input", input)
    batched = batch_first or lengths is not None
    wanted = ("b, t" if batch_first else "t, b" if batched else "t") + ", .."
    if not leaves or any(x.ndim < 1 + batched for x in leaves):
        raise ShapeError(f"{name}: got input {listed(leaves)}; needs tensors [{wanted}]")
    if len({x.shape[: 1 + batched] for x in leaves}) > 1:
        raise ShapeError(f"{name}: got input {listed(leaves)}; needs equal sizes in [{wanted}]")
    time = leaves[0].shape[1 if batch_first else 0]
    if time == 0:
        raise ShapeError(f"{name}: got a sequence of length 0; needs at least one step")
    running = None
    if lengths is not None:
        batch = leaves[0].shape[0 if batch_first else 1]
        running = running_mask(name, lengths, time, batch, leaves[0].device)
    return _Sequences(swapped(input, batch_first), running)


def check_next(name: str, state: Any, after: Any) -> None:
    """Raise ShapeError or DTypeError unless a state has become one of the same structure."""
    old, new = tensors_of(name, "the state", state), tensors_of(name, "the cell's state", after)
    if [t.node.spec for t in old] != [t.node.spec for t in new]:
        kind = DTypeError if [t.shape for t in old] == [t.shape for t in new] else ShapeError
        raise kind(
            f"{name}: the cell made a state {listed(new)} of {listed(old)}; "
            "needs the same shapes and dtypes at each step"
        )


def _stepped(name: str, step: Step) -> Callable[..., tuple[Any, Any]]:
    """Return the step of a walk: sequences that have ended keep their state and give 0."""

    def guarded(x: Any, alive: Tensor | None, state: Any) -> tuple[Any, Any]:
        found = step(x, state)
        if not isinstance(found, tuple) or len(found) != 2:
            raise DTypeError(f"{name}: the cell returned {found!r}; needs (output, state)")
        y, after = found
        tensors_of(name, "the cell's output", y)
        check_next(name, state, after)
        if alive is None:
            return y, after
        return masked(alive, y, None), masked(alive, after, state)

    return guarded


def _walk(step: Callable[..., Any], over: _Sequences, state: Any, reverse: bool) -> tuple[Any, Any]:
    """Return the outputs at all times, in their order, and the last state."""
    outputs: list[Any] = [None] * over.time
    for t in reversed(range(over.time)) if reverse else range(over.time):
        outputs[t], state = step(*over.at(t), state)
    columns = zip(*(tree_leaves(y) for y in outputs), strict=True)
    return tree_rebuild(outputs[0], [stack(list(ys), 0) for ys in columns]), state


def _initial(name: str, cell: Any, over: _Sequences, state: Any) -> Any:
    """Return the state to begin with: the one given, or a cell's zero."""
    if state is None:
        if not isinstance(cell, RNNCellBase):
            raise ShapeError(f"{name}: got no state; only cells of cn.nn know one to begin with")
        state = cell.initial_state(tree_leaves(over.input)[0][0])
    tensors_of(name, "the state", state)
    return state


def _run(
    name: str,
    cell: Any,
    step: Step,
    layer: Any,
    input: Any,
    state: Any,
    lengths: Any,
    reverse: bool,
    batch_first: bool,
    segments: int | None,
) -> tuple[Any, Any]:
    """Return the outputs [t, b, ..] or [b, t, ..] of a walk, and the last state.

    `step` is what `cell` does, and `layer` computes the same as walking in steps, or is None.
    """
    over = _sequences(name, input, lengths, batch_first)
    state = _initial(name, cell, over, state)
    if segments is not None and not 1 <= segments <= over.time:
        raise ValueError(
            f"{name}: got segments={segments}; needs 1 to {over.time}, the steps of the input"
        )

    if layer is not None and segments in (None, 1):
        output, (last,) = run_layer(layer, over.input, (state,), lengths, reverse)
        return swapped(output, batch_first), last
    stepped = _stepped(name, step)
    replayed, used = None, used_blocks()
    if over.time > 1:
        replayed = recorded(stepped, *over.at(over.time - 1 if reverse else 0), state)
    if segments is None:
        nodes = len(replayed.template.steps) * over.time if replayed is not None else 0
        segments = min(max(1, -(-nodes // _NODES_TOGETHER)), over.time)
    if segments == 1:
        outputs, state = _walk(replayed or stepped, over, state, reverse)
        return swapped(outputs, batch_first), state

    rewind(used)  # random numbers of the step that is recorded again as part of a segment

    def walk(input: Any, running: Any, state: Any) -> Any:
        if layer is not None and running is None:
            output, (last,) = run_layer(layer, input, (state,), None, reverse)
            return output, last
        return _walk(stepped, _Sequences(input, running), state, reverse)

    pieces: dict[int, Callable[..., Any]] = {}
    found: list[tuple[int, Any]] = []
    for at in over.slices(-(-over.time // segments), reverse):
        piece = over.part(at)
        given = (piece.input, piece.running, state)
        if piece.time not in pieces:
            pieces[piece.time] = recorded(walk, *given) or walk
        outputs, state = checkpoint(pieces[piece.time], *given)
        found.append((at.start, outputs))
    found.sort(key=lambda item: item[0])
    columns = zip(*(tree_leaves(y) for _, y in found), strict=True)
    joined = tree_rebuild(found[0][1], [cat(list(ys), 0) for ys in columns])
    return swapped(joined, batch_first), state


def _output(state: Any) -> Tensor:
    """Return the output of a cell of `clnet.nn`: its hidden state."""
    return tree_leaves(state)[0]


def _accumulating(cell: Any) -> Step:
    """Return a cell as a step (x, state) -> (output, state)."""
    if not isinstance(cell, RNNCellBase):
        return cell

    def step(x: Any, state: Any) -> tuple[Any, Any]:
        after = cell(x, state)
        return _output(after), after

    return step


def map_accum(
    cell: Callable[[Any, Any], Any],
    input: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    reverse: bool = False,
    batch_first: bool = False,
    segments: int | None = None,
) -> tuple[Any, Any]:
    """Carry a state along sequences, and collect an output at each step: the general recurrence.

    cell: (x, state) -> (output, state), a function or Module of one step of all sequences; or a
    cell of `cn.nn` (x, state) -> state, whose output is its hidden state, and which is run by its
    layer's kernels. input: tensor [t, b, ..], or a tree (nested tuples, lists, dicts) of them;
    [b, t, ..] with `batch_first`; state: a tree of tensors, zero for cells of `cn.nn` if left out.
    Returns (output, state): output [t, b, ..], in the order of time, also if the walk goes from the
    last step to the first (`reverse`), and the state after the last step that is walked.

    lengths: b integers: a sequence's state stops at its end (in `reverse`, starts there), and its
    output is 0 beyond, as with `nn.RNN`. segments: parts of the time, of which only the last states
    are kept, and which are computed again when the gradient comes by (`cn.checkpoint`): about
    sqrt(t) of them need least memory. Left out, it is 1, or for a long walk of another cell as many
    as are planned fast.

    The cell is recorded once, at the first step, and replayed at the others, with other random
    numbers: what it does besides returning tensors happens once. A cell that looks at values is
    called at each step. Errors: ShapeError and DTypeError for inputs, states and lengths that do
    not fit, and for a cell that changes the state's shape; ValueError for lengths out of range.

    >>> import clnet as cn
    >>> total, last = cn.map_accum(lambda x, s: (x + s, x + s), cn.tensor([1.0, 2.0, 3.0]),
    ...                            cn.tensor(0.0))
    >>> total.tolist(), last.item()
    ([1.0, 3.0, 6.0], 6.0)
    """
    return _map_accum("map_accum", cell, input, state, lengths, reverse, batch_first, segments)


def _map_accum(name: str, cell: Any, input: Any, state: Any, *options: Any) -> tuple[Any, Any]:
    layer = layer_of(cell) if isinstance(input, Tensor) else None
    return _run(name, cell, _accumulating(cell), layer, input, state, *options)


def fold(
    cell: Callable[[Any, Any], Any],
    input: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    reverse: bool = False,
    batch_first: bool = False,
    segments: int | None = None,
) -> Any:
    """Reduce sequences to the state after their last step: an encoder.

    cell: (x, state) -> state. The rest as in `map_accum`.

    >>> import clnet as cn
    >>> cn.fold(lambda x, s: x + 2 * s, cn.tensor([1.0, 0.0, 1.0]), cn.tensor(0.0)).item()
    5.0
    """
    options = (lengths, reverse, batch_first, segments)
    if isinstance(cell, RNNCellBase):
        return _map_accum("fold", cell, input, state, *options)[1]
    return _run("fold", cell, lambda x, s: ((), cell(x, s)), None, input, state, *options)[1]


def scan(
    cell: Callable[[Any, Any], Any],
    input: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    reverse: bool = False,
    batch_first: bool = False,
    segments: int | None = None,
) -> Any:
    """Return the states after each step of sequences, where `fold` returns the last.

    cell: (x, state) -> state. Returns a tree like the state, of tensors [t, b, ..]. The rest as in
    `map_accum`.

    >>> import clnet as cn
    >>> cn.scan(lambda x, s: x + 2 * s, cn.tensor([1.0, 0.0, 1.0]), cn.tensor(0.0)).tolist()
    [1.0, 2.0, 5.0]
    """
    options = (lengths, reverse, batch_first, segments)
    # A layer gives the hidden state at each step, which is all of it but for an LSTM.
    if isinstance(cell, (RNNCell, GRUCell)):
        return _map_accum("scan", cell, input, state, *options)[0]

    def step(x: Any, state: Any) -> tuple[Any, Any]:
        after = cell(x, state)
        return after, after

    return _run("scan", cell, step, None, input, state, *options)[0]


def bidirectional(
    left: Callable[[Any, Any], Any],
    right: Callable[[Any, Any], Any],
    input: Any,
    state: tuple[Any, Any] | None = None,
    *,
    lengths: Any = None,
    batch_first: bool = False,
    segments: int | None = None,
) -> tuple[Any, tuple[Any, Any]]:
    """Zip a walk from the left and one from the right: both outputs of a step, joined.

    left, right: cells as of `map_accum`, with outputs of one structure; state: a pair, one for
    each. Returns (output, (state, state)): the outputs are joined along their last dimension. The
    rest as in `map_accum`.

    >>> import clnet as cn
    >>> left, right = cn.nn.GRUCell(3, 4), cn.nn.GRUCell(3, 4)
    >>> output, (h, _) = cn.bidirectional(left, right, cn.ones(5, 2, 3), lengths=[5, 2])
    >>> output.shape, h.shape
    ((5, 2, 8), (2, 4))
    """
    name = "bidirectional"
    if state is None:
        state = (None, None)
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ShapeError(f"{name}: got one state; needs a pair, one for each direction")
    over = _sequences(name, input, lengths, batch_first)
    pairs = zip((left, right), state, strict=True)
    states = tuple([_initial(name, cell, over, s) for cell, s in pairs])
    layer = layer_of(left, right) if isinstance(input, Tensor) and segments in (None, 1) else None
    if layer is not None:
        output, after = run_layer(layer, over.input, states, lengths, False)
        return swapped(output, batch_first), (after[0], after[1])
    outputs, last = [], []
    for cell, begin, reverse in zip((left, right), states, (False, True), strict=True):
        ys, s = _map_accum(name, cell, input, begin, lengths, reverse, batch_first, segments)
        outputs.append(ys)
        last.append(s)
    columns = zip(*map(tree_leaves, outputs), strict=True)
    return tree_rebuild(outputs[0], [cat(list(ys), -1) for ys in columns]), (last[0], last[1])
