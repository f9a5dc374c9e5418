"""How ops are recorded in this thread: for differentiation or not, and who watches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol


class Recorder(Protocol):
    """Who records a computation that is replayed later: see `clnet.transforms`."""

    def looks(self, node: Any) -> None:
        """The value of a node is needed while it is recorded; raises."""

    def assigns(self, tensor: Any, old: Any) -> None:
        """A tensor whose node was `old` is given another value."""

    def grades(self, tensor: Any) -> None:
        """The gradient of a tensor is set."""

    def numbers(self, function: Callable[[], Sequence[Any]], nodes: Sequence[Any]) -> None:
        """The scalar `nodes` have the values that `function()` returns, at each replay anew."""

    def guard(self, function: Callable[[], Any]) -> None:
        """The recording holds as long as `function()` returns what it returns now."""


class _Modes(threading.local):
    grad = True
    # Called with every recorded node: eager mode and anomaly mode hang here.
    observers: tuple[Callable[[Any], None], ...] = ()
    # While a computation is recorded to be replayed: what has to be told about it (see Recorder).
    recorder: Recorder | None = None
    # Counts modules that were switched between training and evaluation.
    switches = 0


modes = _Modes()


class no_grad(contextlib.ContextDecorator):
    """Record nothing for differentiation inside this context (or decorated function).

    >>> import clnet as cn
    >>> w = cn.ones(2, requires_grad=True)
    >>> with cn.no_grad():
    ...     (w * 2).requires_grad
    False
    """

    _enabled = False

    def __init__(self) -> None:
        self._stack: list[bool] = []

    def __enter__(self) -> None:
        self._stack.append(modes.grad)
        modes.grad = self._enabled

    def __exit__(self, *exc: object) -> None:
        modes.grad = self._stack.pop()


class enable_grad(no_grad):
    """Record for differentiation inside this context, also within `no_grad`."""

    _enabled = True


def is_grad_enabled() -> bool:
    """Return whether ops are being recorded for differentiation."""
    return modes.grad


@contextlib.contextmanager
def observing(observer: Callable[[Any], None]) -> Iterator[None]:
    """Call `observer` with every node recorded inside this context."""
    before = modes.observers
    modes.observers = (*before, observer)
    try:
        yield
    finally:
        modes.observers = before
