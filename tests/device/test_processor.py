"""A name for CPUs that PoCL's LLVM does not know."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import clnet as cn
from clnet.device import processor

NAMES = (b"generic\0", b"znver3\0")


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("sse2 avx2 fma f16c bmi1 bmi2 abm movbe", "haswell"),
        ("sse2 avx2 f16c bmi1 bmi2 abm movbe", "x86-64"),
        ("avx512f avx512bw avx512cd avx512dq avx512vl fma avx2", "skylake-avx512"),
        ("", "x86-64"),
    ],
)
def test_names_promise_no_more_than_the_flags(flags: str, name: str) -> None:
    text = f"processor : 0\nmodel name : new\nflags\t\t: fpu {flags}\nbugs : none\n"
    assert processor.name_of(text) == name


def test_without_flags_the_name_is_the_oldest() -> None:
    assert processor.name_of("") == "x86-64"


def test_readable_ranges() -> None:
    text = "1000-2000 r--p 00000000 08:01 1 /lib/a\n3000-4000 ---p 0 00:00 0\n5000-6000 rw-p 0 0 0"
    assert processor.readable(text) == [(0x1000, 0x2000), (0x5000, 0x6000)]


def _device(*words: bytes | int) -> tuple[ctypes.Array[ctypes.c_uint64], list[object]]:
    """Return memory laid out as a device: pointers to the words given as bytes, other numbers."""
    memory = (ctypes.c_uint64 * 128)()
    kept: list[object] = []
    for i, word in enumerate(words):
        if isinstance(word, bytes):
            text = ctypes.create_string_buffer(word, 32)
            kept.append(text)
            memory[i] = ctypes.addressof(text)
        else:
            memory[i] = word
    return memory, kept


def test_the_pointer_to_an_unknown_name_is_found() -> None:
    memory, kept = _device(7, b"pthread", 0, b"generic", b"generic-not", 2**63)
    ranges = processor.readable(Path("/proc/self/maps").read_text())
    start = ctypes.addressof(memory)
    assert processor.pointer_to(NAMES, start, ranges) == start + 3 * 8
    del kept


@pytest.mark.parametrize(
    "words", [(b"skylake",), (b"generic", b"generic"), (b"generic", b"znver3"), ()]
)
def test_nothing_is_changed_unless_there_is_just_one(words: tuple[bytes, ...]) -> None:
    memory, kept = _device(*words)
    ranges = processor.readable(Path("/proc/self/maps").read_text())
    assert processor.pointer_to(NAMES, ctypes.addressof(memory), ranges) is None
    del kept


def test_memory_that_cannot_be_read_is_left_alone() -> None:
    assert processor.pointer_to(NAMES, 4096, []) is None


@pytest.mark.parametrize(
    ("known", "flags", "given"),
    [
        (b"znver3", "avx512f avx512bw avx512cd avx512dq avx512vl fma", b"skylake-avx512"),
        (b"znver3", "avx2 fma f16c bmi1 bmi2 abm movbe", b"znver3"),  # a Zen 3
        (b"znver4", "avx512f avx512bw avx512cd avx512dq avx512vl fma", b"znver4"),
        (b"generic", "avx2 fma f16c bmi1 bmi2 abm movbe", b"haswell"),
    ],
)
def test_a_name_is_given_where_it_says_more(
    known: bytes, flags: str, given: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, kept = _device(7, known)
    raw = SimpleNamespace(
        int_ptr=ctypes.addressof(memory),
        platform=SimpleNamespace(name="Portable Computing Language"),
    )
    monkeypatch.setattr(processor, "_kept", {})
    monkeypatch.setattr(processor.sys, "platform", "linux")
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, **how: f"flags : {flags}\n" if "cpuinfo" in str(path) else read(path, **how),
    )
    processor.name_processor(raw)
    assert ctypes.string_at(memory[1]) == given
    expected = "" if given == known else f" -DCLNET_PROCESSOR={given.decode()}"
    assert processor.option(raw) == expected
    del kept


def test_every_device_here_compiles() -> None:
    for device in cn.devices():
        x = cn.ones(3, device=device) + 1
        np.testing.assert_array_equal(x.numpy(), [2, 2, 2])
