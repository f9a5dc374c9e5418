"""`compile`: a function, such as a training step, recorded once for its shapes and replayed."""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from clnet import core
from clnet.core import Node, Tensor, evaluate, placeholder, record
from clnet.errors import ClnetError
from clnet.modes import modes, observing
from clnet.ops.create import tensor
from clnet.ops.sparse import from_parts, parts_of, rows_of
from clnet.records import OPS
from clnet.transforms.tree import tree_leaves, tree_map

# Recordings that a compiled function keeps: one for each set of shapes.
_MAX_RECORDINGS = 64


class _Recorder:
    """What a function does besides returning tensors, while it is recorded."""

    def __init__(self) -> None:
        self.assigned: dict[int, tuple[weakref.ref[Tensor], Node]] = {}
        self.graded: dict[int, Tensor] = {}
        self.hosts: list[tuple[Callable[[], Sequence[Any]], Sequence[Node]]] = []
        self.guards: list[tuple[Callable[[], Any], Any]] = []
        self.created: list[Node] = []

    def looks(self, node: Node) -> None:
        """Refuse: there is no value yet."""
        raise ClnetError(
            f"compile: the value of {node.spec} is needed while the function that "
            "computes it is recorded; return the tensor and look at it outside"
        )

    def assigns(self, tensor: Tensor, old: Node) -> None:
        """Remember the value that a tensor had before."""
        self.assigned.setdefault(id(tensor), (weakref.ref(tensor), old))

    def grades(self, tensor: Tensor) -> None:
        """Remember a tensor whose gradient is set."""
        self.graded[id(tensor)] = tensor

    def numbers(self, function: Callable[[], Sequence[Any]], nodes: Sequence[Node]) -> None:
        """Remember where scalar nodes have their values from."""
        self.hosts.append((function, nodes))

    def guard(self, function: Callable[[], Any]) -> None:
        """Remember what the recording depends on."""
        self.guards.append((function, function()))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Tell this recorder of what happens in this context."""
        modes.recorder = self
        try:
            with observing(self.created.append):
                yield
        finally:
            modes.recorder = None

    def restore(self) -> None:
        """Give the tensors that were assigned the values they had before."""
        for reference, old in self.assigned.values():
            changed = reference()
            if changed is not None:
                changed.replace(old)


class _Recording:
    """One recorded run of a function: its program, and what goes in and comes out."""

    def __init__(self, function: Callable[..., Any], given: Any) -> None:
        recorder = _Recorder()
        stands: list[Tensor] = []

        def stand(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            stands.append(placeholder(x))
            return stands[-1]

        args, kwargs = tree_map(stand, given)
        recorder.guard(lambda: modes.switches)
        try:
            with recorder.active():
                self.out = function(*args, **kwargs)
            returned = [t for t in tree_leaves(self.out) if isinstance(t, Tensor)]
            _evaluate_others(recorder, returned)
            with recorder.active():
                self._bind(recorder, stands)
        finally:
            recorder.restore()
        self.guards, self.hosts = recorder.guards, recorder.hosts
        self.fresh = True  # the numbers of this run were drawn while it was recorded

    def _bind(self, recorder: _Recorder, stands: Sequence[Tensor]) -> None:
        returned = [t for t in tree_leaves(self.out) if isinstance(t, Tensor)]
        graded = [(t, t.grad) for t in recorder.graded.values() if t.grad is not None]
        graded = [
            (t, g) for t, g in graded if any(part.node.buffer is None for part in parts_of(g))
        ]
        # Tensors whose gradients a run gives, and how many rows those have that are sparse.
        self.graded = [(t, rows_of(g)) for t, g in graded]
        outputs = [*returned, *(part for _, g in graded for part in parts_of(g))]
        results = [record(OPS["alias"], (t.node,), {}) for t in outputs]
        on = next((n.device for n in results if n.device is not None), None)
        sources: dict[Node, int] = {t.node: number for number, t in enumerate(stands)}
        self.states: list[Tensor] = []
        updates: dict[int, int] = {}
        for reference, old in recorder.assigned.values():
            changed = reference()
            if changed is None:
                continue
            number = len(stands) + len(self.states)
            self.states.append(changed)
            if old.buffer is not None:
                sources.setdefault(old, number)
            updates[len(results)] = number
            results.append(changed.node)
        for leaf in _leaves(results):
            holder = leaf.holder()
            if leaf not in sources and holder is not None:
                sources[leaf] = len(stands) + len(self.states)
                self.states.append(holder)
        device = on or core.runtime.default_device()
        self.program = core.runtime.capture(device, results, sources, updates)
        # What the recorded run returned is not kept: only the shape of it.
        self.out = tree_map(lambda x: _HOLE if isinstance(x, Tensor) else x, self.out)
        self.count = len(returned)

    def holds(self, tensors: Sequence[Tensor]) -> bool:
        """Whether nothing that the recording depends on has changed."""
        return all(function() == was for function, was in self.guards) and bool(
            self.program.fits(tensors)
        )

    def run(self, tensors: Sequence[Tensor]) -> Any:
        """Replay on the tensors given and the states; return what the function would."""
        if self.fresh:
            self.fresh = False
        else:
            for function, nodes in self.hosts:
                for node, value in zip(nodes, function(), strict=True):
                    node.value = value
        results = [Tensor(node, view=False) for node in self.program.run(tensors)]
        gradients = iter(results[self.count :])
        for t, rows in self.graded:
            t.grad = from_parts(rows, gradients)
        if self.out is _HOLE:
            return results[0]
        remaining = iter(results)
        return tree_map(lambda x: next(remaining) if x is _HOLE else x, self.out)


_HOLE = object()


def _evaluate_others(recorder: _Recorder, returned: Sequence[Tensor]) -> None:
    """Evaluate what was pending before the function was recorded: it is an input like others."""
    created = set(recorder.created)
    ends = [t.node for t in returned]
    grads = [t.grad for t in recorder.graded.values() if t.grad is not None]
    ends += [part.node for g in grads for part in parts_of(g)]
    for reference, old in recorder.assigned.values():
        changed = reference()
        ends += [old] if changed is None else [old, changed.node]
    others, seen, stack = [], set(), ends
    while stack:
        node = stack.pop()
        if node in seen or node.buffer is not None or node.op is None:
            continue
        seen.add(node)
        if node not in created:
            others.append(node)
        else:
            stack.extend(node.inputs)
    if others:
        core.runtime.evaluate(others)


def _leaves(results: Sequence[Node]) -> list[Node]:
    """Return the nodes with values that the results are computed from."""
    found, seen, stack = [], set(), list(results)
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.buffer is not None:
            found.append(node)
        else:
            stack.extend(node.inputs)
    return found


class Compiled:
    """A function that is recorded at its second call with arguments of a shape, and then replayed.

    Made by `compile`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._recordings: OrderedDict[Any, _Recording | None] = OrderedDict()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if modes.recorder is not None:  # part of a larger recording
            return self._function(*args, **kwargs)
        given = tree_map(lambda x: tensor(x) if isinstance(x, np.ndarray) else x, (args, kwargs))
        leaves = tree_leaves(given)
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        if any(t.requires_grad for t in tensors):
            return self._function(*given[0], **given[1])
        key = self._key(given, leaves)
        recording = self._recordings.get(key)
        if recording is not None:
            states = [*tensors, *recording.states]
            pending = [t for t in states if t.node.buffer is None]
            if pending:
                evaluate(*pending)
            if recording.holds(states):
                return recording.run(states)
        elif key not in self._recordings:
            # The first run makes what later ones find: states of optimizers, gradients, kernels.
            out = self._function(*given[0], **given[1])
            self._recordings[key] = None
            if len(self._recordings) > _MAX_RECORDINGS:
                self._recordings.popitem(last=False)
            return out
        evaluate(*tensors)
        recording = self._recordings[key] = _Recording(self._function, given)
        states = [*tensors, *recording.states]
        evaluate(*states)
        return recording.run(states)

    def _key(self, given: Any, leaves: Sequence[Any]) -> Any:
        parts: list[Any] = [modes.grad]
        for x in leaves:
            if isinstance(x, Tensor):
                parts.append((x.node.spec, x.node.device))
                continue
            try:
                hash(x)
            except TypeError:
                raise ClnetError(
                    f"compile: the function was given a {type(x).__name__}, {x!r}; needs "
                    "tensors, arrays, and values that can be hashed"
                ) from None
            parts.append(x)
        simple = not given[1] and all(isinstance(a, Tensor) for a in given[0])
        return tuple(parts) if simple else (*parts, repr(tree_map(lambda _: 0, given)))


def compile(function: Callable[..., Any]) -> Compiled:
    """Return a function that does the same, recorded once for its shapes and replayed from then on.

    For a whole training step: forward, `backward()`, `optimizer.step()`. Arguments are tensors,
    NumPy arrays and hashable values, also in tuples, lists and dicts. The second call with
    arguments of the same shapes, dtypes and values records; later ones only bind buffers and
    enqueue kernels. Results are those of the function itself: parameters, optimizer states,
    gradients, learning rates and random numbers are read and written anew in each call. What a
    call prints, counts or appends in Python happens only in the first two; results are detached.
    After `train()`, `eval()` or a changed setting of an optimizer the next call records again.

    Errors: ClnetError if the function looks at a value (`item()`, `numpy()`, `if x > 0`) while it
    is recorded: return the tensor, and look at it outside.

    >>> import clnet as cn
    >>> w = cn.nn.Parameter(cn.ones(2))
    >>> optimizer = cn.optim.SGD([w], lr=0.25)
    >>> @cn.compile
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = ((w - x) ** 2).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> [step(cn.zeros(2)).item() for _ in range(4)]
    [2.0, 0.5, 0.125, 0.03125]
    """
    return Compiled(function)
