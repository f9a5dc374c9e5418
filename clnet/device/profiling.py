"""Who watches what the host does and what the device runs: nobody, or the active profiler."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Profiler(Protocol):
    """What is told of phases and launches; see `clnet.engine.profile`."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """The host works on `name` inside this context."""

    def launched(self, event: Any, task: Any) -> None:
        """A launch was enqueued; `event` is pyopencl's, `task` the engine's."""


active: Profiler | None = None
_NOBODY = contextlib.nullcontext()


def phase(name: str) -> AbstractContextManager[None]:
    """Tell the active profiler, if there is one, what the host does inside this context."""
    return _NOBODY if active is None else active.phase(name)
