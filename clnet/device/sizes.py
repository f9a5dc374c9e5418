"""Numbers of bytes: as settings give them, as messages show them, and a pool's limit."""

from __future__ import annotations

import os
import re

from clnet.errors import DeviceError

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def parse_bytes(text: str) -> int:
    """The number of bytes that a setting such as '512MB', '2 GiB' or '1000000' means (K = 1024).

    Raises ValueError where it means none.

    >>> parse_bytes("512MB"), parse_bytes("1.5 GiB"), parse_bytes("4096")
    (536870912, 1610612736, 4096)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    if match is None:
        raise ValueError(text)
    return int(float(match[1]) * (1 << _UNITS[match[2]]))


def format_bytes(size: float) -> str:
    """A number of bytes for people.

    >>> format_bytes(512), format_bytes(3 << 20), format_bytes(5 * 2**30 // 2)
    ('512 B', '3.0 MiB', '2.5 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def memory_limit(device_bytes: int) -> int:
    """Bytes that the pool of a device may hold: CLNET_MEMORY_LIMIT, or all that the device has."""
    text = os.environ.get("CLNET_MEMORY_LIMIT")
    if not text:
        return device_bytes
    try:
        return min(parse_bytes(text), device_bytes)
    except ValueError:
        raise DeviceError(
            f"CLNET_MEMORY_LIMIT: cannot read {text!r}; needs a size such as 512MB or 2GB"
        ) from None
