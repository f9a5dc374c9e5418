"""Sequences from models of the next symbol: sampling, beam search, and training with targets given.

Axis letters: t time, b batch, k beams, n symbols. A step is a function or Module (symbol [b],
state) -> (scores [b, n], state): what an embedding, a cell of `cn.nn` and a linear layer make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from clnet.combinators import Unfolded, map_accum, unfold
from clnet.core import Tensor
from clnet.errors import DTypeError, ShapeError
from clnet.functional.activation import log_softmax, softmax
from clnet.ops.convert import cast
from clnet.ops.create import arange, full, tensor, zeros
from clnet.ops.elementwise import log, where
from clnet.ops.gather import gather, take
from clnet.ops.join import cat
from clnet.ops.order import sort, topk
from clnet.ops.random import rand
from clnet.ops.scan import cumsum
from clnet.transforms.tree import tree_leaves, tree_map, tree_rebuild

Step = Callable[[Any, Any], tuple[Any, Any]]


# --- training -------------------------------------------------------------------------------------
def detached(state: Any) -> Any:
    """Return a state (nested tuples, lists, dicts of tensors) through which no gradient flows.

    What is carried from one window of truncated backpropagation through time to the next (Williams
    and Peng, 1990). It is computed with this window, not again with the next.

    >>> import clnet as cn
    >>> h, c = detached((cn.ones(2, requires_grad=True) * 2, cn.ones(2)))
    >>> h.requires_grad
    False
    """
    return tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, state)


def windows(sequences: Any, size: int, batch_first: bool = False) -> Iterator[Any]:
    """Yield consecutive windows of at most `size` steps, for truncated backpropagation.

    sequences: tensors or NumPy arrays [t, b, ..], or [b, t, ..] with `batch_first`, of equal t, in
    nested tuples, lists and dicts. Errors: ShapeError for unequal t; ValueError for size < 1.

    >>> import numpy as np
    >>> [x.shape for x in windows(np.zeros((5, 2)), 2)]
    [(2, 2), (2, 2), (1, 2)]
    """
    if size < 1:
        raise ValueError(f"windows: got size={size}; needs at least one step")
    dim = int(batch_first)
    shapes = [tuple(x.shape) for x in tree_leaves(sequences)]
    times = {shape[dim] for shape in shapes if len(shape) > dim}
    if len(times) != 1 or any(len(shape) <= dim for shape in shapes):
        raise ShapeError(
            f"windows: got shapes {', '.join(str(list(s)) for s in shapes) or 'of nothing'}; "
            f"needs one size in dimension {dim}, time"
        )
    (time,) = times
    for start in range(0, time, size):
        steps = slice(start, start + size)
        at = (slice(None), steps) if batch_first else steps
        yield tree_rebuild(sequences, [x[at] for x in tree_leaves(sequences)])


def shifted(targets: Tensor, start: int, batch_first: bool = False) -> Tensor:
    """Return the inputs that go with targets under teacher forcing: `start`, then all but the last.

    targets: integers [t, b] or [b, t].

    >>> import clnet as cn
    >>> shifted(cn.tensor([[5], [6], [7]]), 0).flatten().tolist()
    [0, 5, 6]
    """
    if targets.ndim < 1 + batch_first:
        raise ShapeError(f"shifted: got targets {targets.node.spec}; needs [t, ..] or [b, t, ..]")
    dim = int(batch_first)
    time = targets.shape[dim]
    first = full(
        (*targets.shape[:dim], min(time, 1), *targets.shape[dim + 1 :]),
        start,
        dtype=targets.dtype,
        device=targets.device,
    )
    return cat([first, targets.narrow(dim, 0, max(time - 1, 0))], dim)


def teacher_forced(
    step: Step,
    inputs: Tensor,
    state: Any,
    *,
    ratio: float = 1.0,
    choose: Callable[[Any], Tensor] | None = None,
    lengths: Any = None,
    batch_first: bool = False,
) -> tuple[Any, Any]:
    """Run a generator's step on the inputs that it should have made (Williams and Zipser, 1989).

    With a `ratio` below 1 each input is, with the other probability and for each sequence, what
    `choose` makes of the scores before (scheduled sampling: Bengio et al., 2015); by default the
    largest. inputs: [t, b], or [b, t] with `batch_first`: `shifted(targets, start)`. Returns
    (scores [t, b, n] or [b, t, n], last state). The rest as `cn.map_accum`. Errors: as there;
    ValueError for a ratio outside of [0, 1].

    >>> import clnet as cn
    >>> step = lambda x, s: (cn.functional.one_hot(x + s, 9), s)
    >>> scores, _ = teacher_forced(step, cn.tensor([[1], [5]]), cn.ones(1).long(), ratio=0.0)
    >>> scores.argmax(-1).flatten().tolist()
    [2, 3]
    """
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"teacher_forced: got ratio={ratio}; needs a probability, 0 to 1")
    options: dict[str, Any] = {"lengths": lengths, "batch_first": batch_first}
    if ratio == 1.0:
        return map_accum(step, inputs, state, **options)

    def cell(x: Tensor, carried: Any) -> Any:
        before, state = carried
        given = rand(*x.shape[:1], device=x.device) < ratio
        given = given.reshape(*given.shape, *(1,) * (x.ndim - 1))
        scores, state = step(where(given, x, before), state)
        after = scores.argmax(-1) if choose is None else choose(scores)
        return scores, (cast(after.detach(), dtype=x.dtype), state)

    first = inputs.select(int(batch_first), 0)
    scores, (_, state) = map_accum(cell, inputs, (first, state), **options)
    return scores, state


# --- sampling -------------------------------------------------------------------------------------
def filtered(scores: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Return scores [.., n] with -inf for all but the likeliest symbols.

    top_k: keeps so many (0: all); top_p: of those the fewest whose probabilities add up to at least
    so much (nucleus sampling: Holtzman et al., 2020). Symbols as likely as the last one are kept
    too. Errors: ShapeError for scores of no dimension; ValueError for settings out of range.

    >>> import clnet as cn
    >>> filtered(cn.tensor([1.0, 3.0, 2.0]), top_k=2).tolist()
    [-inf, 3.0, 2.0]
    """
    if not scores.ndim or scores.dtype.kind != "f":
        kind = ShapeError if not scores.ndim else DTypeError
        raise kind(f"filtered: got scores {scores.node.spec}; needs float [.., n]")
    n = scores.shape[-1]
    if top_k < 0 or not 0.0 < top_p <= 1.0:
        raise ValueError(
            f"filtered: got top_k={top_k}, top_p={top_p}; needs top_k >= 0 (0: all), and top_p "
            "above 0 and up to 1"
        )
    if 0 < top_k < n:
        least = topk(scores, top_k, -1)[0].narrow(-1, top_k - 1, 1)
        scores = where(scores < least, float("-inf"), scores)
    if top_p < 1.0:
        ordered = sort(scores, -1, True)[0]
        probabilities = softmax(ordered, -1)
        before = cumsum(probabilities, -1) - probabilities
        least = where(before < top_p, ordered, float("inf")).amin(-1, keepdim=True)
        scores = where(scores < least, float("-inf"), scores)
    return scores


def sample(scores: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Draw a symbol with probabilities softmax(scores / temperature), of the likeliest only.

    scores: logits [.., n]; returns int64 [..]. A temperature of 0 takes the largest. `top_k` and
    `top_p` as in `filtered`, after the temperature. The largest of scores with Gumbel noise is a
    draw from their softmax (Gumbel, 1954). Errors: as `filtered`; ValueError for a temperature < 0.

    >>> import clnet as cn
    >>> sample(cn.tensor([[0.0, 100.0], [100.0, 0.0]])).tolist()
    [1, 0]
    """
    if not temperature >= 0.0:
        raise ValueError(f"sample: got temperature={temperature}; needs a number >= 0")
    if temperature == 0.0:
        return filtered(scores).argmax(-1)
    scores = filtered(scores / temperature, top_k, top_p)
    uniform = rand(scores.shape, device=scores.device).clamp(2.0**-25, 1 - 2.0**-24)
    return (scores - log(-log(uniform))).argmax(-1)


def generate(
    step: Step,
    first: Tensor,
    state: Any,
    steps: int,
    *,
    end: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    batch_first: bool = False,
) -> Unfolded:
    """Continue sequences, a symbol drawn by `sample` at a time, each the next step's input.

    first: integers [b]; end: the symbol that ends a sequence, if there is one. Returns (output,
    state, lengths) of `cn.unfold`: symbols int64 [t, b] or [b, t], without `first`, with `end`, and
    0 beyond. Use `with cn.no_grad()`. Errors: as `cn.unfold` and `sample`.

    >>> import clnet as cn
    >>> step = lambda x, s: (cn.functional.one_hot(x + 1, 9).float() * 100, s)
    >>> generate(step, cn.tensor([2, 4]), cn.zeros(2), 9, end=6, batch_first=True).output.tolist()
    [[3, 4, 5, 6], [5, 6, 0, 0]]
    """
    _check_first("generate", first)

    def draw(carried: Any) -> tuple[Any, Any]:
        scores, after = step(*carried)
        drawn = cast(sample(scores, temperature, top_k, top_p), dtype=first.dtype)
        return drawn, (drawn, after)

    stop = None if end is None else (lambda y: y == end)
    found = unfold(draw, (first, state), steps, stop=stop, batch_first=batch_first)
    return found._replace(state=found.state[1])


def _check_first(name: str, first: Any) -> None:
    if not isinstance(first, Tensor) or first.ndim != 1 or first.dtype.kind != "i":
        given = first.node.spec if isinstance(first, Tensor) else repr(first)
        raise ShapeError(f"{name}: got first {given}; needs integers [b]")


# --- beam search ----------------------------------------------------------------------------------
class Beams(NamedTuple):
    """The best continuations of each sequence, best first.

    output [t, b, k] (or [b, k, t]) of symbols, 0 beyond the end; scores [b, k]; lengths [b, k].
    """

    output: Tensor
    scores: Tensor
    lengths: Tensor


def beam_search(
    step: Step,
    first: Tensor,
    state: Any,
    steps: int,
    *,
    end: int,
    beams: int = 4,
    length_penalty: float = 1.0,
    batch_first: bool = False,
) -> Beams:
    """Search for the likeliest continuations, `beams` at a time for each sequence of the batch.

    first: integers [b]; state: a tree of tensors [b, ..], which the step also gets as [b * beams,
    ..]; end: the symbol that ends a sequence; a sequence that did is kept among the beams. Scores
    are sums of log-probabilities divided by length ** length_penalty (1: the mean; 0: the sum),
    which orders the result only. Errors: ShapeError for first and state that do not fit; ValueError
    for steps or beams < 1.

    >>> import clnet as cn
    >>> table = cn.tensor([[0.0, 0.4, 0.6], [0.9, 0.1, 0.0], [0.4, 0.3, 0.3]]).log()
    >>> step = lambda x, s: (cn.take(table, x, 0), s)
    >>> found = beam_search(step, cn.tensor([0]), cn.zeros(1), 2, end=0, beams=3, length_penalty=0)
    >>> found.output[:, 0, 0].tolist(), round(found.scores[0, 0].exp().item(), 2)
    ([1, 0], 0.36)
    """
    _check_first("beam_search", first)
    if beams < 1:
        raise ValueError(f"beam_search: got beams={beams}; needs at least one")
    b, device = first.shape[0], first.device
    for leaf in tree_leaves(state):
        if not isinstance(leaf, Tensor) or leaf.shape[:1] != (b,):
            given = leaf.node.spec if isinstance(leaf, Tensor) else repr(leaf)
            raise ShapeError(f"beam_search: got a state {given}; needs tensors [{b}, ..]")

    def spread(x: Tensor) -> Tensor:
        return x.unsqueeze(1).expand(b, beams, *x.shape[1:])

    # At first there is one beam; the others are as unlikely as can be.
    scores = where(arange(beams, device=device) == 0, 0.0, float("-inf")).expand(b, beams)
    done = full((b, beams), False, device=device)
    lengths = zeros((b, beams), dtype=done.dtype, device=device).long()
    rows = arange(b, device=device).unsqueeze(1) * beams

    def advance(carried: Any) -> Any:
        symbol, scores, done, lengths, state = carried
        found, after = step(symbol.flatten(0, 1), tree_map(lambda s: s.flatten(0, 1), state))
        n = found.shape[-1]
        likely = log_softmax(found, -1).unflatten(0, (b, beams))
        # What has ended goes on in one way, at no cost.
        ending = where(arange(n, device=device) == end, 0.0, float("-inf"))
        likely = where(done.unsqueeze(-1), ending, likely) + scores.unsqueeze(-1)
        scores, place = topk(likely.flatten(1), beams, -1)
        parent = place // n
        chosen = cast(place % n, dtype=symbol.dtype)
        done = gather(done, 1, parent)
        lengths = gather(lengths, 1, parent) + (~done).long()
        done = done | (chosen == end)
        at = (rows + parent).flatten()
        state = tree_map(lambda s: take(s, at, 0).unflatten(0, (b, beams)), after)
        y = {"symbol": chosen, "parent": parent, "done": done}
        return y, (chosen, scores, done, lengths, state)

    begin = (spread(first), scores, done, lengths, tree_map(spread, state))
    found = unfold(advance, begin, steps, stop=lambda y: y["done"].all(1))
    _, scores, _, lengths, _ = found.state
    assert found.lengths is not None
    symbols = _traced(
        found.output["symbol"].numpy(), found.output["parent"].numpy(), found.lengths.numpy()
    )
    counts = lengths.numpy()
    values = scores.numpy() / np.maximum(counts, 1).astype(scores.dtype.storage) ** length_penalty
    order = np.argsort(-values, axis=1, kind="stable")
    symbols = np.take_along_axis(symbols, order[None], 2)
    symbols = np.where(
        np.arange(len(symbols))[:, None, None] < np.take_along_axis(counts, order, 1), symbols, 0
    )
    return Beams(
        tensor(symbols.transpose(1, 2, 0) if batch_first else symbols, device=device),
        tensor(np.take_along_axis(values, order, 1), device=device),
        tensor(np.take_along_axis(counts, order, 1), device=device),
    )


def _traced(symbols: np.ndarray, parents: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the symbols [t, b, k] of each beam, followed from its last step to its parents."""
    result = np.zeros_like(symbols)
    beam = np.broadcast_to(np.arange(symbols.shape[2]), symbols.shape[1:])
    for t in reversed(range(len(symbols))):
        running = (t < lengths)[:, None]
        result[t] = np.where(running, np.take_along_axis(symbols[t], beam, 1), 0)
        beam = np.where(running, np.take_along_axis(parents[t], beam, 1), beam)
    return result
