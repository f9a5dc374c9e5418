"""What a device can do: asked of the driver, and tried out where drivers are known to err."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clnet.device.opencl import cl
from clnet.device.sources import KernelSource
from clnet.errors import ClnetError

_PROBE_ITEMS = 32
_PROBE_TURNS = 200_000


@dataclass(frozen=True)
class Capabilities:
    """Facts of one device; sizes in bytes.

    `fp64`, `fp16` and `subgroups` are tried with a small kernel when first asked for, because
    drivers claim what they get wrong: Oclgrind 21.10 reports fp16 and computes zeros.
    """

    local_memory: int
    max_work_group: int
    max_allocation: int
    memory: int
    unified_memory: bool
    compute_units: int
    extensions: frozenset[str]
    _try: Callable[[str], bool] = field(repr=False, compare=False)
    _width: Callable[[], int] = field(repr=False, compare=False)

    @functools.cached_property
    def fp64(self) -> bool:
        """Whether double arithmetic works."""
        return "cl_khr_fp64" in self.extensions and self._try("fp64")

    @functools.cached_property
    def fp16(self) -> bool:
        """Whether half arithmetic works (half storage works everywhere)."""
        return "cl_khr_fp16" in self.extensions and self._try("fp16")

    @functools.cached_property
    def subgroups(self) -> bool:
        """Whether sub-group reductions work."""
        return "cl_khr_subgroups" in self.extensions and self._try("subgroups")

    @functools.cached_property
    def long_loops(self) -> bool:
        """Whether a work-item may loop long: rusticl on llvmpipe stops after 65,536 turns."""
        return self._try("long_loops")

    @functools.cached_property
    def vector_bits(self) -> int:
        """Bits of the vector registers that the compiler of a CPU uses; 0 where it hides them."""
        return self._width()


def ask(raw: Any, attempt: Callable[[str], bool], width: Callable[[], int]) -> Capabilities:
    """The capabilities of a pyopencl device; `attempt` tries one out by name, `width` registers."""
    return Capabilities(
        local_memory=int(raw.local_mem_size),
        max_work_group=int(raw.max_work_group_size),
        max_allocation=int(raw.max_mem_alloc_size),
        memory=int(raw.global_mem_size),
        unified_memory=bool(raw.host_unified_memory),
        compute_units=int(raw.max_compute_units),
        extensions=frozenset(raw.extensions.split()),
        _try=attempt,
        _width=width,
    )


def works(device: Any, capability: str) -> bool:
    """Run the kernel that shows whether a device has a capability, and check its numbers."""
    try:
        if capability == "subgroups":
            return _sums_subgroups(device)
        if capability == "long_loops":
            return _loops_on(device)
        real, dtype = {"fp64": ("double", np.float64), "fp16": ("half", np.float16)}[capability]
        return _computes(device, real, np.dtype(dtype))
    except (ClnetError, cl.Error):
        return False


def vector_bits(device: Any) -> int:
    """Ask the compiler of a device for the width of its registers; 0 where it fails."""
    try:
        (kernel,) = device.kernels([KernelSource("doctor.cl", "vector_bits", ())])
        result = device.allocate(4)
        kernel.raw.set_args(result)
        device.enqueue(kernel, (1,), (1,))
        return int(device.download(result, np.dtype(np.int32), (1,))[0])
    except (ClnetError, cl.Error):
        return 0


def _computes(device: Any, real: str, dtype: np.dtype) -> bool:
    x = np.arange(-_PROBE_ITEMS // 2, _PROBE_ITEMS // 2).astype(dtype)  # exact in every type
    source = KernelSource("doctor.cl", "arithmetic", (("REAL", real),))
    (kernel,) = device.kernels([source])
    given, result = device.upload(x), device.allocate(x.nbytes)
    kernel.raw.set_args(given, result)
    device.enqueue(kernel, x.shape, (1,))
    y = device.download(result, dtype, x.shape)
    return bool(np.array_equal(y, x * dtype.type(1.5) + dtype.type(0.25)))


def _sums_subgroups(device: Any) -> bool:
    x = np.arange(_PROBE_ITEMS, dtype=np.float32)
    source = KernelSource("doctor.cl", "subgroup_sum", (("LOCAL", str(_PROBE_ITEMS)),))
    (kernel,) = device.kernels([source])
    given, sums, groups = device.upload(x), device.allocate(x.nbytes), device.allocate(x.nbytes)
    kernel.raw.set_args(given, sums, groups)
    device.enqueue(kernel, x.shape, x.shape)
    number = device.download(groups, np.dtype(np.int32), x.shape)
    if number.min() < 0 or number.max() >= _PROBE_ITEMS:
        return False
    expected = np.bincount(number, weights=x)[number]
    return bool(np.array_equal(device.download(sums, x.dtype, x.shape), expected))


def _loops_on(device: Any) -> bool:
    expected = 0
    for _ in range(_PROBE_TURNS):
        expected = (expected * 1664525 + 1013904223) % 2**32
    (kernel,) = device.kernels([KernelSource("doctor.cl", "long_loop", ())])
    result = device.allocate(4)
    kernel.raw.set_args(result, np.int32(_PROBE_TURNS))
    device.enqueue(kernel, (1,), (1,))
    return int(device.download(result, np.dtype(np.uint32), (1,))[0]) == expected
