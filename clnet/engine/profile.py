"""`profile`: where the time of a piece of program goes, on the device and on the host."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clnet.device import device, profiling
from clnet.device.limits import Limits, limits
from clnet.errors import ClnetError

PHASES = ("build", "plan", "compile", "enqueue", "wait")


@dataclass
class KernelTime:
    """The launches of one kernel on the same ops; `seconds` on the device, `flops`, `nbytes`."""

    name: str
    ops: str
    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    nbytes: float = 0.0

    def share(self, most: Limits) -> float:
        """Return the part of the device's limit that was reached, 0 to 1."""
        if not self.seconds:
            return 0.0
        work = max(self.flops / most.flops, self.nbytes / most.bandwidth)
        return work / self.seconds


class Profile:
    """What a profile found; printed, it is a table.

    `kernels`: a `KernelTime` for each kernel, the slowest first; `host`: seconds by phase: 'build'
    (the program's own code, and the recording of ops), 'plan', 'compile', 'enqueue', 'wait';
    `seconds` in all.
    """

    def __init__(self, on: Any) -> None:
        self._device = device(on)
        self._launches: list[tuple[Any, Any]] = []
        self._slices: list[tuple[str, int, int, int]] = []
        self._stack: dict[int, list[list[Any]]] = {}
        self._spans: list[tuple[str, str, int, int]] = []
        self.host: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.kernels: list[KernelTime] = []
        self.seconds = 0.0

    # --- while it is taken ----------------------------------------------------------------------

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside this context as `name`, that of inner phases apart."""
        thread = threading.get_ident()
        stack = self._stack.setdefault(thread, [])
        start = time.perf_counter_ns()
        stack.append([0])
        try:
            yield
        finally:
            end = time.perf_counter_ns()
            (inner,) = stack.pop()
            self.host[name] += (end - start - inner) * 1e-9
            self._slices.append((name, thread, start, end))
            if stack:
                stack[-1][0] += end - start

    def launched(self, event: Any, task: Any) -> None:
        """Remember a launch."""
        self._launches.append((event, task))

    def start(self) -> None:
        """Begin: switch the device to a queue that keeps times."""
        if profiling.active is not None:
            raise ClnetError("profile: a profile is being taken already; they do not nest")
        self._offset = self._device.keep_times(True)
        profiling.active = self
        self._began = time.perf_counter_ns()

    def stop(self) -> None:
        """End: wait for the device, and collect."""
        try:
            self._device.synchronize()
        finally:
            profiling.active = None
            self._ended = time.perf_counter_ns()
            self._device.keep_times(False)
        self.seconds = (self._ended - self._began) * 1e-9
        found: dict[tuple[str, str], KernelTime] = {}
        for event, task in self._launches:
            start, end = event.profile.start + self._offset, event.profile.end + self._offset
            name = f"{task.launch.file}:{task.launch.entry}"
            self._spans.append((name, task.label, start, end))
            kernel = found.setdefault((name, task.label), KernelTime(name, task.label))
            kernel.calls += 1
            kernel.seconds += (end - start) * 1e-9
            kernel.flops += task.flops
            kernel.nbytes += task.nbytes
        self._launches.clear()
        self.kernels = sorted(found.values(), key=lambda k: -k.seconds)
        # The rest of the time is the program's own.
        others = sum(self.host[name] for name in PHASES if name != "build")
        self.host["build"] = max(0.0, self.seconds - others)

    # --- afterwards -----------------------------------------------------------------------------

    def table(self) -> str:
        """Return the kernels and the host's phases as text; measures the device's limits."""
        most = limits(self._device)
        busy = sum(k.seconds for k in self.kernels)
        lines = [
            f"{'kernel':24} {'calls':>6} {'ms':>9} {'%':>5} {'GFLOP/s':>9} {'GB/s':>7} "
            f"{'% limit':>7}  ops"
        ]
        for k in self.kernels:
            per = 1e-9 / k.seconds if k.seconds else 0.0
            ops = k.ops if len(k.ops) <= 48 else k.ops[:45] + "..."
            lines.append(
                f"{k.name:24} {k.calls:6} {k.seconds * 1e3:9.3f} {100 * k.seconds / busy:5.1f} "
                f"{k.flops * per:9.2f} {k.nbytes * per:7.2f} {100 * k.share(most):7.1f}  {ops}"
            )
        lines.append(
            f"device: {busy * 1e3:.3f} ms of {self.seconds * 1e3:.3f} ms in kernels; limits "
            f"{most.flops * 1e-9:.0f} GFLOP/s, {most.bandwidth * 1e-9:.1f} GB/s"
        )
        host = ", ".join(f"{name} {self.host[name] * 1e3:.3f} ms" for name in PHASES)
        return "\n".join([*lines, f"host: {host}"])

    def __str__(self) -> str:
        return self.table()

    def events(self) -> list[dict[str, Any]]:
        """Return the trace events: host slices by thread, and the device's kernels, in us."""
        zero = self._began
        named = [(0, "host"), (1, f"device: {self._device}")]
        events: list[dict[str, Any]] = [
            {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": name}}
            for pid, name in named
        ]
        for name, thread, start, end in self._slices:
            events.append(_slice(name, "host", 0, thread, start - zero, end - start, {}))
        before = 0
        for name, label, start, end in sorted(self._spans, key=lambda s: s[2]):
            # An in-order queue runs one kernel at a time; clocks may overlap by their resolution.
            start = max(start - zero, before)
            before = max(end - zero, start)
            args = {"kernel": name}
            events.append(_slice(label, "device", 1, 0, start, before - start, args))
        return events

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write a trace for Perfetto (ui.perfetto.dev) or chrome://tracing, atomically.

        The format is Chrome's trace event format (JSON object, complete events, times in us).
        """
        import json  # only who exports pays for it

        target = Path(path)
        trace = {"traceEvents": self.events(), "displayTimeUnit": "ms"}
        part = target.with_name(target.name + ".part")
        part.write_text(json.dumps(trace), encoding="utf-8")
        part.replace(target)


def _slice(
    name: str, category: str, pid: int, tid: int, start: int, duration: int, args: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": start / 1000,
        "dur": duration / 1000,
        "pid": pid,
        "tid": tid,
        "args": args,
    }


@contextmanager
def profile(on: Any = None) -> Iterator[Profile]:
    """Measure what happens in this context, on a device (default: the default device).

    Kernels are timed on the device, one launch at a time (small launches that are otherwise made
    together stay apart). What was found is kept when the context is left by an exception. Errors:
    ClnetError inside another profile.

    >>> import clnet as cn
    >>> x = cn.ones(1000)
    >>> with cn.profile() as p:
    ...     y = (x * 2 + 1).sum().item()
    >>> sum(k.calls for k in p.kernels) > 0, sorted(p.host)
    (True, ['build', 'compile', 'enqueue', 'plan', 'wait'])
    """
    found = Profile(on)
    found.start()
    try:
        yield found
    finally:
        found.stop()
