"""Device memory: a pool of buffers, and the ways of getting arrays into and out of them.

Released buffers are kept by pyopencl's pool for the next request of about the same size, because
fresh ones cost page faults or driver calls. Drivers may promise memory that they do not have (PoCL
allocates on first touch), so the pool also keeps to a limit of its own.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any, cast

import numpy as np

from clnet.device.opencl import cl, device_error, is_exhaustion
from clnet.device.pages import WORTH_ASKING, ask_for_large_pages
from clnet.device.sizes import format_bytes, memory_limit
from clnet.errors import OutOfMemoryError

# What `allocate` returns: a pyopencl pooled buffer, back in the pool when it is garbage collected.
Buffer = Any
_BufferBase: Any = object if cl is None else cl.Buffer

ALIGNMENT = 64  # bytes: what a float16* (16 floats) dereference in a kernel may assume

# Uploads up to this size go through a copy of the array and do not wait for the kernels before
# them; beyond it copying twice costs more than the wait.
_STAGED_BYTES = 4 << 20
_KEPT_ARRAYS = 32


# How long a read looks for its end by itself before it sleeps, on devices that share the host's
# memory: waking up takes PoCL 20 us, as long as a small training step's kernels.
_POLLING_SECONDS = 2e-4
# Bytes beyond which arrays are mapped there instead of read: mapping took PoCL 55 to 70 us, reading
# 16 bytes 20 us, 256 KB 31, 1 MB 58 (2 cores of Zen 3).
_MAPPED_FROM = 1 << 18


def _wait(event: Any) -> None:
    """Return when an event has completed; raises cl.Error where its command failed."""
    until = time.perf_counter() + _POLLING_SECONDS
    status = event.get_info
    asked = cl.event_info.COMMAND_EXECUTION_STATUS
    while status(asked) > 0 and time.perf_counter() < until:
        pass
    event.wait()


class _Region:
    """A mapped piece of a buffer, as an object that NumPy makes a view of.

    The array holds this, and this holds the buffer: without it the buffer could go back to the
    pool, and be written again, under the array.
    """

    __slots__ = ("__array_interface__", "_buffer", "_mapped")

    def __init__(self, buffer: Buffer, mapped: np.ndarray) -> None:
        self._buffer = buffer
        self._mapped = mapped
        address = mapped.__array_interface__["data"][0]
        self.__array_interface__ = {
            **mapped.__array_interface__,
            "data": (address, True),  # True: read-only
        }

    def __del__(self) -> None:
        del self._mapped  # unmaps, before the buffer is let go
        del self._buffer


class Wrapped(_BufferBase):
    """A buffer on an array's memory, which must outlive the kernels that are in flight."""

    def __init__(self, memory: Memory, context: Any, usage: int, array: np.ndarray) -> None:
        super().__init__(context, usage, hostbuf=array)
        self._memory = memory
        self._array = array

    def __del__(self) -> None:
        if hasattr(self, "_array"):  # else the constructor failed
            self._memory.retire(self._array)


class _Unpooled(_BufferBase):
    """A buffer so large that the pool would round its size up to more than the device allows."""

    def __init__(self, memory: Memory, context: Any, nbytes: int) -> None:
        super().__init__(context, cl.mem_flags.READ_WRITE, nbytes)
        self._memory = memory
        self._bytes = nbytes
        memory.unpooled.append(nbytes)

    def __del__(self) -> None:
        if hasattr(self, "_bytes"):  # else the constructor failed
            self._memory.unpooled.remove(self._bytes)


class Memory:
    """The pool of one device, and transfers through the device's queue.

    `name` is how messages call the device; `memory` and `max_allocation` are its sizes in bytes;
    `unified` says that it shares the host's memory.
    """

    def __init__(
        self, queue: Any, name: str, memory: int, max_allocation: int, unified: bool
    ) -> None:
        self._queue = queue
        self._name = name
        self._max_allocation = max_allocation
        self._unified = unified
        self._on_cpu = bool(queue.device.type & cl.device_type.CPU)
        self._pool = cl.tools.MemoryPool(cl.tools.ImmediateAllocator(queue))
        self._kept: deque[tuple[Any, np.ndarray]] = deque()
        # Reentrant: garbage collection inside may retire an array.
        self._lock = threading.RLock()
        self._peak = 0
        self.unpooled: list[int] = []  # bytes of the buffers too large for the pool's rounding
        self._largest_pooled = max_allocation - max_allocation // 8
        self._plain = min(self._largest_pooled, WORTH_ASKING)  # bytes, below which nothing is asked
        self.limit = memory_limit(memory)

    def work_on(self, queue: Any) -> None:
        """Copy through another queue from now on; the one before must have finished."""
        self._queue = queue

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes` bytes, contents undefined.

        Raises OutOfMemoryError where the device, or the limit, has no room for it even after the
        cached blocks were given back.
        """
        assert nbytes > 0, (
            "buffers of no bytes do not exist in OpenCL; the caller handles empty tensors"
        )
        if nbytes > self._max_allocation:
            raise self._out_of_memory(nbytes, self.cached)
        pool = self._pool
        try:
            plain = nbytes < self._plain
            buffer = pool.allocate(nbytes) if plain else self._request(nbytes)
        except cl.Error as error:
            if not is_exhaustion(error):
                raise device_error("allocate", self._name, error) from error
            buffer = None
        managed = pool.managed_bytes + (sum(self.unpooled) if self.unpooled else 0)
        if buffer is None or managed > self.limit:
            buffer = None  # frees the block just made, so that free_held returns it as well
            buffer = self._allocate_again(nbytes)
        in_use = self.in_use if self.unpooled else pool.active_bytes
        if in_use > self._peak:
            self._peak = in_use
        return buffer

    def _request(self, nbytes: int) -> Buffer:
        pool = self._pool
        if nbytes > self._largest_pooled and (
            pool.alloc_size(pool.bin_number(nbytes)) > self._max_allocation
        ):
            buffer: Buffer = _Unpooled(self, self._queue.context, nbytes)
            fresh = True
        else:
            held = pool.managed_bytes
            buffer = pool.allocate(nbytes)
            fresh = pool.managed_bytes > held
        if fresh and nbytes >= WORTH_ASKING and self._on_cpu:
            ask_for_large_pages(self._queue, buffer, nbytes)
        return buffer

    def _allocate_again(self, nbytes: int) -> Buffer:
        cached = self.cached
        try:
            # Kernels still in flight hold on to released blocks: drivers free them only afterwards.
            self._queue.finish()
            self._pool.free_held()
            if self.in_use + nbytes <= self.limit:
                return self._request(nbytes)
        except cl.Error as error:
            if not is_exhaustion(error):
                raise device_error("allocate", self._name, error) from error
        raise self._out_of_memory(nbytes, cached)

    def _out_of_memory(self, requested: int, cached: int) -> OutOfMemoryError:
        if requested > self._max_allocation:
            law = f"one allocation may have at most {format_bytes(self._max_allocation)}"
        else:
            law = f"the device has {format_bytes(self.limit)}"
        return OutOfMemoryError(
            f"allocate: no room for {format_bytes(requested)} on {self._name}, with "
            f"{format_bytes(self.in_use)} in use and {format_bytes(cached)} cached; "
            f"{law}: free tensors, or use smaller batches or a smaller model",
            requested=requested,
            in_use=self.in_use,
            cached=cached,
            limit=self.limit,
        )

    @property
    def in_use(self) -> int:
        """Bytes that the live buffers asked for."""
        return self._pool.active_bytes + sum(self.unpooled)

    @property
    def cached(self) -> int:
        """Bytes that the pool holds beyond what tensors asked for."""
        return self._pool.managed_bytes - self._pool.active_bytes

    def stats(self) -> dict[str, int]:
        """Bytes in_use, cached, peak, limit, largest_allocation; and live allocations."""
        return {
            "in_use": self.in_use,
            "cached": self.cached,
            "peak": self._peak,
            "limit": self.limit,
            "largest_allocation": min(self._max_allocation, self.limit),
            "allocations": self._pool.active_blocks + len(self.unpooled),
        }

    def empty_cache(self) -> None:
        """Give the blocks that no tensor uses back to the driver."""
        self._pool.free_held()

    def upload(self, array: np.ndarray) -> Buffer:
        """A new buffer with a contiguous array's bytes; the array may change once this returns."""
        assert array.flags.c_contiguous, "upload takes contiguous arrays"
        buffer = self.allocate(array.nbytes)
        try:
            if array.nbytes > _STAGED_BYTES:
                cl.enqueue_copy(self._queue, buffer, array, is_blocking=True)
            else:
                self._stage(buffer, array.copy())
        except cl.Error as error:
            raise device_error("upload", self._name, error) from error
        return buffer

    def _stage(self, buffer: Buffer, array: np.ndarray) -> None:
        self._keep(cl.enqueue_copy(self._queue, buffer, array, is_blocking=False), array)

    def _keep(self, event: Any, array: np.ndarray) -> None:
        """Keep an array alive until the event, which the device may still need it for."""
        complete = cl.command_execution_status.COMPLETE
        with self._lock:
            kept = self._kept
            kept.append((event, array))
            while kept and kept[0][0].command_execution_status == complete:
                kept.popleft()
            if len(kept) > _KEPT_ARRAYS:
                kept.popleft()[0].wait()

    def retire(self, array: np.ndarray) -> None:
        """Keep an array alive until all that is enqueued by now has run."""
        self._keep(cl.enqueue_marker(self._queue), array)

    def forget_kept(self) -> None:
        """Let go of the arrays kept for transfers; the queue must have finished."""
        with self._lock:
            self._kept.clear()

    def wrap(self, array: np.ndarray) -> Buffer | None:
        """A buffer that is the array's own memory, or None where device or array do not allow it.

        Needs unified memory and a contiguous, writable array at a multiple of 64 bytes. The buffer
        keeps the array alive, and whoever changes one changes the other.
        """
        flags = array.flags
        if not (self._unified and flags.c_contiguous and flags.writeable and array.nbytes):
            return None
        if array.ctypes.data % ALIGNMENT or array.nbytes > self._max_allocation:
            return None
        usage = cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR
        try:
            return Wrapped(self, self._queue.context, usage, array)
        except cl.Error:
            return None  # the caller copies instead

    def download(
        self, buffer: Buffer, dtype: np.dtype, shape: tuple[int, ...], offset: int
    ) -> np.ndarray:
        """The elements of a contiguous region, as a read-only array; `offset` in elements.

        On unified memory a large array is the buffer's own memory, mapped, and keeps the buffer
        alive; others are copies. Waits for the kernels before it.
        """
        size = math.prod(shape) * dtype.itemsize
        start = offset * dtype.itemsize
        raw: np.ndarray = np.empty(0 if self._unified and size > _MAPPED_FROM else size, np.uint8)
        try:
            if raw.size:
                self._read(buffer, raw, start)
            elif size:
                flags = cl.map_flags.READ
                mapped, _ = cl.enqueue_map_buffer(
                    self._queue, buffer, flags, start, (size,), np.uint8, is_blocking=True
                )
                raw = np.asarray(_Region(buffer, mapped))
        except cl.Error as error:
            raise device_error("download", self._name, error) from error
        raw.flags.writeable = False
        return raw.view(dtype).reshape(shape)

    def _read(self, buffer: Buffer, raw: np.ndarray, start: int) -> None:
        """Read bytes from `start` on into an array; waits for the kernels before it."""
        # What `enqueue_copy` comes to, 3 us later. NVIDIA's driver took 33 us where the end was
        # looked for, 20 us where it blocks.
        read = cl._cl._enqueue_read_buffer(
            self._queue, buffer, raw, src_offset=start, is_blocking=not self._unified
        )
        if self._unified:
            self._queue.flush()
            _wait(read)

    def copy(self, buffer: Buffer, start: int, nbytes: int) -> Buffer:
        """A new buffer with `nbytes` bytes of another, from byte `start`; does not wait."""
        result = self.allocate(nbytes)
        try:
            cl.enqueue_copy(self._queue, result, buffer, src_offset=start, byte_count=nbytes)
        except cl.Error as error:
            raise device_error("copy", self._name, error) from error
        return result

    def read_scalar(self, buffer: Buffer, dtype: np.dtype, offset: int) -> np.generic:
        """One element, `offset` in elements; waits for the kernels before it."""
        value = np.empty((), dtype)
        try:
            self._read(buffer, value.reshape(1).view(np.uint8), offset * dtype.itemsize)
        except cl.Error as error:
            raise device_error("read", self._name, error) from error
        return cast("np.generic", value[()])
