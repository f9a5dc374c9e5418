"""What a device can do at most, measured: arithmetic, memory bandwidth in float32, latencies."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clnet.device.programs import Kernel
from clnet.device.runtime import Device
from clnet.device.sources import KernelSource

_ROUNDS = 5
# Floats beyond every cache; on GPUs enough that the launch itself does not count.
_COPIED, _COPIED_GPU = 1 << 24, 1 << 27
# Turns of arithmetic, some milliseconds of it: a launch costs some microseconds.
_TURNS, _TURNS_GPU = 1 << 17, 1 << 13
_LAUNCHES = 200
# As in kernels/limits.cl.
_ACCUMULATORS = 12


@dataclass(frozen=True)
class Limits:
    """`flops` (multiplications and additions) and bytes of memory (`bandwidth`) a second."""

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Latencies:
    """Bytes a second of `triad`; seconds to `launch`, and to launch and wait (`round_trip`)."""

    triad: float
    launch: float
    round_trip: float


@functools.cache
def limits(on: Device) -> Limits:
    """Measure a device's limits, which takes about half a second; once for each process.

    Arithmetic: fused multiply-adds on registers. Bandwidth: a copy of 64 MB (512 MB on GPUs), read
    and written bytes counted.
    """
    local, lanes = _shape(on)
    if on.type == "cpu":
        lanes = on.caps.vector_bits // 32 or lanes
    peak = _kernel(on, "fma_peak", lanes)
    items = on.caps.compute_units * (8 if on.type == "cpu" else 64 * local)
    out = on.allocate(4 * items)
    peak.raw.set_scalar_arg_dtypes([None, np.float32, np.float32, np.int32])
    turns = _TURNS if on.type == "cpu" else _TURNS_GPU
    peak.raw.set_args(out, 0.5, 0.25, turns)
    seconds = _least(on, lambda: on.enqueue(peak, (items,), (local,)))
    return Limits(items * turns * _ACCUMULATORS * 2 * lanes / seconds, _bandwidth(on, "copy", 1))


@functools.cache
def latencies(on: Device) -> Latencies:
    """Measure what else limits: a triad of three arrays, and launches that do next to nothing."""
    local, lanes = _shape(on)
    copy = _kernel(on, "copy", lanes)
    x, y = (on.allocate(4 * lanes) for _ in range(2))
    copy.raw.set_scalar_arg_dtypes([None, None, np.int32, np.int32])
    copy.raw.set_args(x, y, 1, 1)

    def launch() -> None:
        on.enqueue(copy, (local,), (local,))

    def launches() -> None:
        for _ in range(_LAUNCHES):
            launch()

    def round_trips() -> None:
        for _ in range(_LAUNCHES):
            launch()
            on.synchronize()

    launched, waited = _least(on, launches), _least(on, round_trips)
    return Latencies(_bandwidth(on, "triad", 2), launched / _LAUNCHES, waited / _LAUNCHES)


def _shape(on: Device) -> tuple[int, int]:
    """Return the work-items of a group, and floats that an item copies at once."""
    if on.type == "cpu":
        return 1, 16
    return min(256, on.caps.max_work_group), 4


def _kernel(on: Device, entry: str, lanes: int) -> Kernel:
    defines = (("LOCAL", str(_shape(on)[0])), ("VECTOR", f"float{lanes}"))
    (kernel,) = on.kernels([KernelSource("limits.cl", entry, defines)])
    return kernel


def _bandwidth(on: Device, entry: str, read: int) -> float:
    """Return the bytes a second of a kernel that reads `read` arrays and writes one."""
    local, lanes = _shape(on)
    kernel = _kernel(on, entry, lanes)
    cpu = on.type == "cpu"
    n = min(_COPIED if cpu else _COPIED_GPU, on.caps.max_allocation // 8, on.caps.memory // 32)
    n //= lanes
    given = [on.upload(np.zeros(n * lanes, np.float32)) for _ in range(read)]
    chunk = 1024 if cpu else 1
    items = -(-n // chunk)
    kernel.raw.set_scalar_arg_dtypes([None] * (read + 1) + [np.int32, np.int32])
    kernel.raw.set_args(*given, on.allocate(4 * n * lanes), n, chunk)
    size = -(-items // local) * local
    seconds = _least(on, lambda: on.enqueue(kernel, (size,), (local,)))
    return 4 * (read + 1) * n * lanes / seconds


def _least(on: Device, launch: Callable[[], object]) -> float:
    times = []
    for turn in range(_ROUNDS + 2):
        on.synchronize()
        start = time.perf_counter()
        launch()
        on.synchronize()
        if turn > 1:
            times.append(time.perf_counter() - start)
    return min(times)
