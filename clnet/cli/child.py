"""A process that answers requests, so that what crashes or hangs in it does not lose the rest.

Requests and answers are lines of JSON. `serve` is the child's side; peers in other environments
write it themselves.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from clnet.errors import ClnetError


class ChildError(ClnetError):
    """The child crashed, hung or ended; the message says which, in words."""


class Child:
    """A process started when it is first asked, and again after it crashed or hung."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: Any = None

    def ask(self, request: Any, patience: float) -> Any:
        """Return the answer to a request. Raises ChildError after `patience` seconds without."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise ChildError(self._end()) from None
        # An answer is one line, written at once when it is complete.
        if not select.select([process.stdout], [], [], patience)[0]:
            self.close()
            raise ChildError(f"did not finish within {patience:g} s")
        line = process.stdout.readline()
        if not line:
            raise ChildError(self._end())
        return json.loads(line)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._complaints.close()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed in _end, close)
        # Its own session: Ctrl-C reaches the parent alone, which ends its children in order.
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                start_new_session=True,
            )
        except OSError as error:
            self._complaints.close()
            raise ChildError(f"{self._command[0]} cannot be started: {error.strerror}") from None
        return self._process

    def _end(self) -> str:
        """Say how the process ended, and forget it."""
        process = self._process
        assert process is not None
        process.communicate()
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines()
        self._complaints.close()
        self._process = None
        last = said[-1] if said else "no message"
        if process.returncode < 0:
            return f"crashed with {signal.Signals(-process.returncode).name} ({last})"
        return f"ended with status {process.returncode}: {last}"


def serve(answer: Callable[[Any], Any]) -> None:
    """Answer the requests on standard input until it ends; what drivers print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)
