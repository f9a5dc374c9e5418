"""The pool, its limit, and transfers."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from clnet.device import device, memory
from clnet.device.memory import ALIGNMENT, Memory
from clnet.device.opencl import cl
from clnet.device.pages import ask_for_large_pages
from clnet.device.sizes import format_bytes, memory_limit, parse_bytes
from clnet.errors import DeviceError, OutOfMemoryError

MIB = 1 << 20
LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
DTYPES = ("bool", "uint8", "int16", "float16", "int32", "float32", "int64", "float64")


@pytest.fixture
def on():
    return device()


def small(on, memory=8 * MIB, largest=4 * MIB, unified=True):
    """A pool on a device of 8 MiB with allocations of up to 4 MiB."""
    return Memory(on.queue, "a small device", memory, largest, unified)


def aligned(size):
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


@pytest.fixture
def mapped(monkeypatch):
    """Let arrays be mapped, however small."""
    monkeypatch.setattr(memory, "_MAPPED_FROM", 0)


@pytest.fixture(params=["mapped", "read", "copied"])
def unified(request):
    """Let arrays be mapped, or read, or copied as from a device with memory of its own."""
    if request.param == "mapped":
        request.getfixturevalue("mapped")
    return request.param != "copied"


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_come_back_as_they_went(on, dtype, unified):
    memory = small(on, unified=unified)
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    y = memory.download(memory.upload(x), x.dtype, x.shape, 0)
    assert y.dtype == x.dtype
    assert not y.flags.writeable
    np.testing.assert_array_equal(y, x)


def test_a_region_and_an_element_are_read_by_offset(on, unified):
    memory = small(on, unified=unified)
    x = np.arange(24, dtype=np.int64)
    buffer = memory.upload(x)
    np.testing.assert_array_equal(
        memory.download(buffer, x.dtype, (2, 3), 5), [[5, 6, 7], [8, 9, 10]]
    )
    scalar = memory.read_scalar(buffer, x.dtype, 7)
    assert scalar == 7
    assert type(scalar) is np.int64


def test_a_download_of_nothing_is_empty(on):
    y = on.download(on.allocate(4), np.float32, (0, 3))
    assert y.shape == (0, 3)
    assert not y.flags.writeable


@pytest.mark.parametrize("size", [1000, 3 * MIB], ids=["staged", "large"])
def test_an_array_may_change_once_it_is_uploaded(on, size):
    x = np.ones(size, np.float32)
    buffers = []
    for value in range(5):
        x[:] = value
        buffers.append(on.upload(x))
    for value, buffer in enumerate(buffers):
        assert (
            on.read_scalar(buffer, x.dtype, 0) == on.read_scalar(buffer, x.dtype, size - 1) == value
        )


def test_many_uploads_do_not_pile_up(on):
    memory = small(on)
    for _ in range(200):
        memory.upload(np.zeros(10, np.float32))
    assert len(memory._kept) <= 33
    on.synchronize()
    memory.forget_kept()
    assert not memory._kept


def test_a_downloaded_array_keeps_its_buffer(on, mapped):
    memory = small(on)
    y = memory.download(
        memory.upload(np.full(1000, 7, np.float32)), np.dtype(np.float32), (1000,), 0
    )
    assert memory.stats()["allocations"] == 1
    for _ in range(5):
        memory.upload(np.zeros(1000, np.float32))  # would take the block if it were free
    on.synchronize()
    assert (y == 7).all()
    view = y[10:]
    del y
    assert memory.stats()["allocations"] == 1
    assert (view == 7).all()
    del view
    gc.collect()
    assert memory.stats()["allocations"] == 0


def test_released_blocks_are_used_again(on):
    memory = small(on)
    first = memory.allocate(MIB)
    held = memory.stats()["in_use"]
    del first
    assert memory.stats()["in_use"] == 0
    assert memory.cached >= held
    again = memory.allocate(MIB)
    assert memory.stats()["in_use"] == held
    assert memory.cached < held
    del again
    memory.empty_cache()
    assert memory.cached == 0


@pytest.mark.parametrize("largest", [64 * MIB, 16 * MIB], ids=["pooled", "unpooled"])
def test_new_large_buffers_ask_once_for_large_pages(on, largest, monkeypatch):
    if not on.raw.type & cl.device_type.CPU:
        pytest.skip("memory of its own")
    asked = []

    def ask(queue, buffer, nbytes):
        asked.append(nbytes)
        return ask_for_large_pages(queue, buffer, nbytes)

    monkeypatch.setattr(sys.modules[Memory.__module__], "ask_for_large_pages", ask)
    memory = small(on, 128 * MIB, largest)
    size = 15 * MIB + 4
    for _ in range(2):
        buffer = memory.allocate(size)
        del buffer
    assert asked == [size] if largest > 16 * MIB else [size, size]
    array = np.arange(size, dtype=np.uint8)
    buffer = memory.upload(array)
    np.testing.assert_array_equal(memory.download(buffer, array.dtype, array.shape, 0), array)
    memory.allocate(MIB)
    assert MIB not in asked


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="a system without large pages")
def test_large_pages_are_what_a_large_buffer_gets(on):
    if "[never]" in LARGE_PAGES.read_text() or not on.raw.type & cl.device_type.CPU:
        pytest.skip("no large pages to have")
    buffer = on.memory.allocate(64 * MIB)
    assert ask_for_large_pages(on.queue, buffer, 64 * MIB)


def test_stats_say_what_happened(on):
    memory = small(on)
    kept = [memory.allocate(MIB), memory.allocate(MIB)]
    del kept[0]
    stats = memory.stats()
    assert stats["in_use"] == MIB
    assert stats["peak"] == 2 * MIB
    assert stats["allocations"] == 1
    assert stats["limit"] == 8 * MIB
    assert stats["largest_allocation"] == 4 * MIB
    assert MIB <= stats["cached"] <= 1.2 * MIB


def test_cached_blocks_are_given_back_before_memory_is_out(on):
    memory = small(on)
    blocks = [memory.allocate(MIB) for _ in range(6)]
    del blocks
    assert memory.cached >= 6 * MIB
    buffer = memory.allocate(
        4 * MIB
    )  # another size: no cached block fits, and all would be too much
    assert memory.cached < MIB
    del buffer


def test_out_of_memory_says_how_much_and_leaves_the_rest_usable(on):
    memory = small(on)
    x = np.arange(MIB // 2, dtype=np.float32)
    buffer = memory.upload(x)
    others = [memory.allocate(2 * MIB), memory.allocate(MIB)]
    with pytest.raises(OutOfMemoryError) as caught:
        memory.allocate(4 * MIB)
    error = caught.value
    assert (error.requested, error.in_use, error.limit) == (4 * MIB, 5 * MIB, 8 * MIB)
    message = str(error)
    for words in (
        "no room for 4.0 MiB on a small device",
        "5.0 MiB in use",
        "cached",
        "has 8.0 MiB",
    ):
        assert words in message
    np.testing.assert_array_equal(memory.download(buffer, x.dtype, x.shape, 0), x)
    del others
    memory.allocate(4 * MIB)


def test_one_allocation_has_a_limit_of_its_own(on):
    with pytest.raises(OutOfMemoryError, match=r"one allocation may have at most 4\.0 MiB"):
        small(on).allocate(4 * MIB + 1)


def test_the_largest_allocation_fits(on):
    # The pool rounds sizes up, which must not ask the driver for more than it gives.
    memory = small(on, largest=4_500_000)
    assert memory._pool.alloc_size(memory._pool.bin_number(4_500_000)) > 4_500_000
    buffer = memory.allocate(4_500_000)
    stats = memory.stats()
    assert (stats["allocations"], stats["in_use"], stats["cached"]) == (1, 4_500_000, 0)
    with pytest.raises(OutOfMemoryError):
        memory.allocate(4_500_000)
    del buffer
    assert memory.stats()["in_use"] == 0
    assert memory.stats()["peak"] == 4_500_000
    memory.allocate(4_500_000)


def test_wrap_shares_memory_both_ways(on, mapped):
    if not on.caps.unified_memory:
        pytest.skip("the device does not share the host's memory")
    x = aligned(4000).view(np.float32)
    x[:] = 3
    y = on.download(on.wrap(x), x.dtype, x.shape)
    x[5] = 8
    assert np.shares_memory(x, y)
    assert y[5] == 8


def test_wrap_outlives_what_the_device_still_reads(on):
    if not on.caps.unified_memory:
        pytest.skip("the device does not share the host's memory")
    x = aligned(4000).view(np.float32)
    retired = []
    buffer = on.wrap(x)
    buffer._memory = type("Recorder", (), {"retire": lambda self, array: retired.append(array)})()
    del buffer
    assert retired[0] is x


@pytest.mark.parametrize(
    "array",
    [
        aligned(4000)[1:].view(np.uint8),
        aligned(4000).view(np.float32)[::2],
        np.frombuffer(bytes(4000), np.float32),
        np.empty((0, 3), np.float32),
    ],
    ids=["unaligned", "strided", "read-only", "empty"],
)
def test_wrap_leaves_the_rest_to_copies(on, array):
    assert on.wrap(array) is None


def test_wrap_needs_unified_memory(on):
    assert small(on, unified=False).wrap(aligned(4000)) is None


@pytest.mark.parametrize(
    ("text", "size"), [("512MB", 512 * MIB), ("1.5 GiB", 1536 * MIB), ("64k", 65536), ("7", 7)]
)
def test_the_limit_is_a_setting(monkeypatch, text, size):
    monkeypatch.setenv("CLNET_MEMORY_LIMIT", text)
    assert memory_limit(1 << 40) == size
    assert memory_limit(5) == 5


@pytest.mark.parametrize("text", ["much", "-1", "5 parsecs", "1e9"])
def test_a_limit_that_is_no_size_is_refused(monkeypatch, text):
    monkeypatch.setenv("CLNET_MEMORY_LIMIT", text)
    with pytest.raises(DeviceError, match="CLNET_MEMORY_LIMIT: cannot read"):
        memory_limit(1 << 40)
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_bytes(text)


def test_sizes_for_people():
    assert [format_bytes(size) for size in (0, 1023, 1024, 1 << 45)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "32.0 TiB",
    ]
