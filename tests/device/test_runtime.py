"""A device from several threads, copied, and out of memory at a launch."""

from __future__ import annotations

import copy
import gc
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from clnet.device import Device, KernelSource, device, runtime
from clnet.device.opencl import cl
from clnet.errors import DeviceError, OutOfMemoryError

SUM = KernelSource("doctor.cl", "group_sum", (("LOCAL", "8"),))
THREADS = 4


def test_threads_share_one_queue_and_one_program():
    known = device()
    new = Device(known.raw, 0, 0, known.type, known.why)  # nothing made yet
    start = Barrier(THREADS)

    def use(_):
        start.wait()
        (kernel,) = new.kernels([SUM])
        given, result = new.upload(np.ones(64, np.float32)), new.allocate(32)
        kernel.raw.set_args(given, result)
        new.enqueue(kernel, (64,), (8,))
        return new.queue.int_ptr, kernel.raw.program, new.download(result, np.float32, (8,))

    with ThreadPoolExecutor(THREADS) as pool:
        queues, programs, sums = zip(*pool.map(use, range(THREADS)), strict=True)
    assert len(set(queues)) == 1
    assert all(program == programs[0] for program in programs)
    assert all((each == 8).all() for each in sums)


def test_a_copy_of_a_device_is_the_device():
    assert copy.copy(device()) is copy.deepcopy(device()) is device()


def refuse(monkeypatch, *codes):
    """Have launches fail with these codes, one after the other, and then succeed."""
    left = list(codes)

    def enqueue(*arguments):
        if left:
            raise cl.Error(cl._cl._ErrorRecord(msg="refused", code=left.pop(0), routine="launch"))

    class OpenCL:
        """pyopencl, but for launches."""

        enqueue_nd_range_kernel = staticmethod(enqueue)
        Error = cl.Error

    monkeypatch.setattr(runtime, "cl", OpenCL)
    return left


ALLOCATION_FAILURE, OUT_OF_RESOURCES = -4, -5


def test_a_launch_without_memory_gives_the_cache_back_and_tries_once(monkeypatch):
    on = device()
    (kernel,) = on.kernels([SUM])
    gc.collect()
    on.synchronize()  # what earlier tests left is no longer in use
    on.allocate(1000)
    assert on.memory.cached > 0
    left = refuse(monkeypatch, ALLOCATION_FAILURE)
    on.enqueue(kernel, (8,), (8,))
    assert left == []
    assert on.memory.stats()["cached"] < 1000


def test_a_launch_without_memory_twice_is_out_of_memory(monkeypatch):
    on = device()
    (kernel,) = on.kernels([SUM])
    refuse(monkeypatch, ALLOCATION_FAILURE, ALLOCATION_FAILURE)
    with pytest.raises(OutOfMemoryError, match=r"group_sum over \(8,\).*ran out of memory"):
        on.enqueue(kernel, (8,), (8,))


def test_a_launch_without_resources_is_explained(monkeypatch):
    on = device()
    (kernel,) = on.kernels([SUM])
    refuse(monkeypatch, OUT_OF_RESOURCES)
    with pytest.raises(DeviceError, match="a kernel crashed or a watchdog stopped it"):
        on.enqueue(kernel, (8,), (8,))
