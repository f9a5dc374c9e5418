"""A device: its facts, and the queue, memory and programs that work on it."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from clnet.device import capabilities, loader, profiling
from clnet.device.memory import Buffer, Memory, Wrapped
from clnet.device.opencl import cl, device_error, is_exhaustion
from clnet.device.programs import Kernel, Programs
from clnet.device.sources import KernelSource, SerialSource
from clnet.errors import OutOfMemoryError


class Device:
    """An OpenCL device.

    There is one object for each device of the process, so devices compare by identity. Context,
    queue and memory pool are made on first use; work is enqueued in order, and from any thread.
    `why` says in words why the device is ranked where it is.
    """

    def __init__(
        self, raw: Any, platform_index: int, device_index: int, type: str, why: str
    ) -> None:
        self.raw = raw
        self.platform_index = platform_index
        self.device_index = device_index
        self.type = type
        self.why = why
        platform = raw.platform
        self.name: str = raw.name.strip()
        self.vendor: str = raw.vendor.strip()
        self.platform: str = platform.name.strip()
        self.platform_version: str = platform.version.strip()
        self.driver: str = raw.driver_version.strip()
        self.caps = capabilities.ask(
            raw,
            lambda name: capabilities.works(self, name),
            lambda: capabilities.vector_bits(self),
        )
        self._lock = threading.Lock()

    @property
    def index(self) -> str:
        """'platform:device', which names the device where names do not."""
        return f"{self.platform_index}:{self.device_index}"

    def __repr__(self) -> str:
        return f"<Device {self}>"

    def __str__(self) -> str:
        return f"{self.index} '{self.name}' ({self.platform} {self.driver})"

    # A copy of what holds a device works on the same device.
    def __copy__(self) -> Device:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Device:
        return self

    # --- what is made on first use ------------------------------------------------------------

    @functools.cached_property
    def _opened(self) -> tuple[Any, Any, Memory, Programs]:
        with self._lock:
            if "_opened" in self.__dict__:  # another thread was first
                return self.__dict__["_opened"]
            try:
                context = cl.Context([self.raw])
                queue = cl.CommandQueue(context, self.raw)
            except cl.Error as error:
                raise device_error("device", self, error) from error
            caps = self.caps
            memory = Memory(queue, str(self), caps.memory, caps.max_allocation, caps.unified_memory)
            programs = Programs(context, self.raw, str(self), self._fingerprint)
            opened = (context, queue, memory, programs)
            # Stored before the lock is released: the property itself stores only afterwards.
            self.__dict__["_opened"] = opened
            return opened

    def _fingerprint(self) -> str:
        facts = (
            self.platform,
            self.platform_version,
            self.name,
            self.raw.version,
            self.driver,
            loader.settings_and_libraries(),
        )
        return "\0".join(facts)

    @property
    def context(self) -> Any:
        """The pyopencl context, of this device alone."""
        return self._opened[0]

    @functools.cached_property
    def queue(self) -> Any:
        """The pyopencl command queue, in order."""
        return self._opened[1]

    @functools.cached_property
    def memory(self) -> Memory:
        """The memory pool."""
        return self._opened[2]

    def keep_times(self, on: bool) -> int:
        """Work on a queue whose events have times, or again on the usual one; waits.

        Returns how many nanoseconds the host's `perf_counter_ns` is ahead of the queue's clock.
        """
        self.synchronize()
        properties = cl.command_queue_properties.PROFILING_ENABLE if on else 0
        self.queue = cl.CommandQueue(self.context, self.raw, properties)
        self.memory.work_on(self.queue)
        if not on:
            return 0
        marker = cl.enqueue_marker(self.queue)
        marker.wait()
        return time.perf_counter_ns() - int(marker.profile.end)

    # --- memory -------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes` (> 0) bytes, contents undefined.

        It goes back to the pool when it is garbage collected. Raises OutOfMemoryError; the buffers
        that exist stay usable.
        """
        return self.memory.allocate(nbytes)

    def upload(self, array: np.ndarray) -> Buffer:
        """A new buffer with a contiguous array's bytes; the array may change once this returns."""
        return self.memory.upload(array)

    def wrap(self, array: np.ndarray) -> Buffer | None:
        """A buffer that is the array's own memory, or None where that cannot be.

        Needs a device with unified memory, and a contiguous, writable array at a multiple of 64
        bytes.
        """
        return self.memory.wrap(array)

    def download(
        self, buffer: Buffer, dtype: Any, shape: tuple[int, ...], offset_elements: int = 0
    ) -> np.ndarray:
        """A contiguous region of a buffer as a read-only array; waits for the work before it.

        On unified memory the array is the buffer's own memory and keeps it alive; elsewhere a copy.
        """
        with profiling.phase("wait"):
            return self.memory.download(buffer, np.dtype(dtype), shape, offset_elements)

    def may_overwrite(self, buffer: Buffer) -> bool:
        """Whether a buffer is the device's own memory, not that of an array."""
        return not isinstance(buffer, Wrapped)

    def copy(self, buffer: Buffer, start: int, nbytes: int) -> Buffer:
        """A new buffer with `nbytes` bytes of another, from byte `start`; does not wait."""
        return self.memory.copy(buffer, start, nbytes)

    def read_scalar(self, buffer: Buffer, dtype: Any, offset_elements: int = 0) -> np.generic:
        """One element of a buffer; waits for the work before it."""
        with profiling.phase("wait"):
            return self.memory.read_scalar(buffer, np.dtype(dtype), offset_elements)

    # --- work ---------------------------------------------------------------------------------

    def kernels(self, sources: Sequence[KernelSource | SerialSource]) -> list[Kernel]:
        """A new kernel object for each source; those not yet built are built as one program.

        Raises BuildError with the compiler's log.
        """
        return self._opened[3].kernels(sources)

    def seen(self, source: KernelSource | SerialSource) -> bool:
        """Whether a kernel was built alone before, in this process or in an earlier one."""
        return self._opened[3].seen(source)

    def enqueue(
        self, kernel: Kernel, global_size: tuple[int, ...], local_size: tuple[int, ...]
    ) -> Any:
        """Launch a kernel, whose arguments are set, after the work before it; does not wait.

        Returns the event of the launch.
        """
        try:
            return cl.enqueue_nd_range_kernel(self.queue, kernel.raw, global_size, local_size)
        except cl.Error as error:
            return self._enqueue_again(kernel, global_size, local_size, error)

    def _enqueue_again(
        self, kernel: Kernel, global_size: Any, local_size: Any, error: Exception
    ) -> Any:
        # Drivers that allocate on first use run out of memory here: give the cache back, try once.
        what = f"{kernel.source.entry} over {global_size} in groups of {local_size}"
        if not is_exhaustion(error):
            raise device_error(what, self, error) from error
        self.synchronize()
        self.memory.empty_cache()
        try:
            return cl.enqueue_nd_range_kernel(self.queue, kernel.raw, global_size, local_size)
        except cl.Error as again:
            stats = self.memory.stats()
            raise OutOfMemoryError(
                f"{what}: {self} ran out of memory with {stats['in_use']} bytes in use; "
                "free tensors, or use smaller batches or a smaller model",
                in_use=stats["in_use"],
                limit=stats["limit"],
            ) from again

    def flush(self) -> None:
        """Have the driver begin what is enqueued, without waiting for it."""
        self._finish("flush", self.queue.flush)

    def synchronize(self) -> None:
        """Wait until all that is enqueued has run; raises DeviceError where it failed."""
        with profiling.phase("wait"):
            self._finish("synchronize", self.queue.finish)
        self.memory.forget_kept()

    def _finish(self, op: str, call: Any) -> None:
        try:
            call()
        except cl.Error as error:
            raise device_error(op, self, error) from error
