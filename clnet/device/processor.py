"""The name of the CPU, for a PoCL whose LLVM is older than the CPU.

PoCL asks LLVM what the host's CPU is called when it makes its device, and names it to the compiler
with every kernel. LLVM calls what it does not know 'generic', and that its compiler refuses
("unknown target CPU 'generic'"): PyPI's PoCL, with LLVM 14, builds nothing on AMD's Zen 5. It takes
Zen 4 for Zen 3, which has no AVX-512: products take twice as long. No setting changes the name, so
it is changed where the device keeps it.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path
from typing import Any

from clnet.device.opencl import is_pocl

# Names that are replaced: what LLVM does not know and, on CPUs with AVX-512, one without.
_UNKNOWN, _NARROW = b"generic\0", b"znver3\0"
# Bytes of PoCL's device in which the pointer to the name is looked for; it stands at 640 in 3.0.
_DEVICE_BYTES = 1024
# What a CPU must be able to do for a name, the best first.
_NAMES = (
    ("skylake-avx512", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "fma"}),
    ("haswell", {"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"}),
    ("x86-64", set[str]()),
)


# What devices point to, for as long as there are devices, by their addresses.
_kept: dict[int, ctypes.Array[ctypes.c_char]] = {}


def name_processor(raw: Any) -> None:
    """Give a PoCL device whose CPU has no name, a pyopencl device, one of like abilities."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return
    if not is_pocl(raw):
        return
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    best = name_of(facts)
    replaced = (_UNKNOWN, _NARROW) if best == _NAMES[0][0] else (_UNKNOWN,)
    where = pointer_to(replaced, raw.int_ptr, readable(maps))
    if where is not None:
        name = ctypes.create_string_buffer(best.encode())
        _kept[raw.int_ptr] = name
        ctypes.c_uint64.from_address(where).value = ctypes.addressof(name)


def option(raw: Any) -> str:
    """Return what the compiler's options need for a device that was given a name, with a space.

    clnet's cache of programs goes by the options: without this a program built for one CPU would be
    given to another that may be able to do less. PoCL 3.0's own cache knows the name given.
    """
    name = _kept.get(raw.int_ptr)
    return "" if name is None else f" -DCLNET_PROCESSOR={name.value.decode()}"


def name_of(cpuinfo: str) -> str:
    """Return what LLVM calls the best x86-64 CPU that can do no more than the one described.

    >>> name_of("flags : fpu sse2")
    'x86-64'
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    flags = next((set(words.split()) for key, _, words in lines if key.strip() == "flags"), set())
    return next(name for name, needed in _NAMES if needed <= flags)


def readable(maps: str) -> list[tuple[int, int]]:
    """Return the ranges of addresses that a process may read, from its /proc/self/maps."""
    ranges = []
    for line in maps.splitlines():
        addresses, rights = line.split()[:2]
        if rights.startswith("r"):
            low, _, high = addresses.partition("-")
            ranges.append((int(low, 16), int(high, 16)))
    return ranges


def pointer_to(names: tuple[bytes, ...], start: int, ranges: list[tuple[int, int]]) -> int | None:
    """Return the address of the one pointer to such a name in PoCL's device at `start`, if any."""

    def may_read(address: int, nbytes: int) -> bool:
        return any(low <= address and address + nbytes <= high for low, high in ranges)

    found = []
    for where in range(start, start + _DEVICE_BYTES, 8):
        if not may_read(where, 8):
            break
        target = ctypes.c_uint64.from_address(where).value
        if any(
            may_read(target, len(name)) and ctypes.string_at(target, len(name)) == name
            for name in names
        ):
            found.append(where)
    return found[0] if len(found) == 1 else None
