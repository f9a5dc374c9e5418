"""What a device can do at most, measured: arithmetic and memory bandwidth in float32."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clnet.device.runtime import Device
from clnet.device.sources import KernelSource

_ROUNDS = 5
# Floats beyond every cache; on GPUs enough that the launch itself does not count.
_COPIED, _COPIED_GPU = 1 << 24, 1 << 27
_TURNS = 1 << 14


@dataclass(frozen=True)
class Limits:
    """`flops` (multiplications and additions) and bytes of memory (`bandwidth`) a second."""

    flops: float
    bandwidth: float


@functools.cache
def limits(on: Device) -> Limits:
    """Measure a device's limits, which takes about half a second; once for each process.

    Arithmetic: fused multiply-adds on registers. Bandwidth: a copy of 64 MB (512 MB on GPUs), read
    and written bytes counted.
    """
    cpu = on.type == "cpu"
    local = 1 if cpu else min(256, on.caps.max_work_group)
    vector, lanes = ("float16", 16) if cpu else ("float4", 4)
    defines = (("LOCAL", str(local)), ("VECTOR", vector))
    peak, copy = on.kernels(
        [KernelSource("limits.cl", entry, defines) for entry in ("fma_peak", "copy")]
    )
    items = on.caps.compute_units * (8 if cpu else 64 * local)
    out = on.allocate(4 * items)
    peak.raw.set_scalar_arg_dtypes([None, np.float32, np.float32, np.int32])
    peak.raw.set_args(out, 0.5, 0.25, _TURNS)
    seconds = _median(on, lambda: on.enqueue(peak, (items,), (local,)))
    flops = items * _TURNS * 8 * 2 * lanes / seconds
    n = min(_COPIED if cpu else _COPIED_GPU, on.caps.max_allocation // 8, on.caps.memory // 32)
    n //= lanes
    x, y = on.upload(np.zeros(n * lanes, np.float32)), on.allocate(4 * n * lanes)
    chunk = 1024 if cpu else 1
    copies = -(-n // chunk)
    copy.raw.set_scalar_arg_dtypes([None, None, np.int32, np.int32])
    copy.raw.set_args(x, y, n, chunk)
    size = -(-copies // local) * local
    seconds = _median(on, lambda: on.enqueue(copy, (size,), (local,)))
    return Limits(flops, 8 * n * lanes / seconds)


def _median(on: Device, launch: Callable[[], object]) -> float:
    times = []
    for turn in range(_ROUNDS + 2):
        on.synchronize()
        start = time.perf_counter()
        launch()
        on.synchronize()
        if turn > 1:
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
