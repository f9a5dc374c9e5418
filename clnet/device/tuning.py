"""Tuning tables: the parameters of kernels that were measured to be best, by device.

A table is a JSON file, so that it can be looked at, kept and shared:

    {"format": "clnet tuning", "version": 1, "entries": [
      {"match": {"device": "...", "platform": "...", "driver": "..."},
       "kernels": {"matmul_blocked": {"tile_m": 8, "tile_n": 32}}}]}

An entry serves the devices of which all that `match` names is equal: 'device', 'platform', 'driver'
(the compiler is part of it), 'vendor', 'type', 'vector_bits' (of a CPU's registers). A kernel's
parameters come from the first of these that has them: the user's entry for the device, the shipped
one, an entry for its vendor, one for its type. Where none has, the kernel's declared default holds.
"""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clnet.device.runtime import Device
from clnet.errors import ClnetError
from clnet.files import replace

FORMAT, VERSION = "clnet tuning", 1
SHIPPED = Path(__file__).with_name("tuning.json")
# What an entry may be chosen by, and the ranks of entries: by the most special key that they have.
KEYS = ("device", "platform", "driver", "vendor", "type", "vector_bits")
_RANKS = ("device", "vendor", "type")

Kernels = dict[str, dict[str, int]]
Entry = dict[str, Any]


def user_file() -> Path:
    """The user's table: CLNET_TUNING, or clnet/tuning.json in XDG_CONFIG_HOME or ~/.config."""
    chosen = os.environ.get("CLNET_TUNING")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "clnet" / "tuning.json"


def parameters(on: Device) -> Mapping[str, Mapping[str, int]]:
    """The parameters of each kernel that the tables have for a device."""
    return choose([_usable(user_file()), _usable(SHIPPED)], facts(on))


def facts(on: Device) -> dict[str, str]:
    """What entries may match a device by."""
    return {
        "device": on.name,
        "platform": on.platform,
        "driver": on.driver,
        "vendor": on.vendor,
        "type": on.type,
        "vector_bits": str(on.caps.vector_bits) if on.type == "cpu" else "0",
    }


def choose(tables: list[list[Entry]], device: Mapping[str, str]) -> Kernels:
    """Merge the entries that match a device, those for the device itself first.

    >>> gpus = {"match": {"type": "gpu"}, "kernels": {"k": {"tile": 8}}}
    >>> mine = {"match": {"device": "A", "type": "gpu"}, "kernels": {"k": {"tile": 4}}}
    >>> choose([[gpus, mine]], {"device": "A", "type": "gpu"})
    {'k': {'tile': 4}}
    >>> choose([[gpus, mine]], {"device": "B", "type": "gpu"})
    {'k': {'tile': 8}}
    """
    found: Kernels = {}
    for rank in _RANKS:
        for table in tables:
            for entry in table:
                match = entry["match"]
                special = next((key for key in _RANKS if key in match), None)
                if special == rank and all(device[key] == match[key] for key in match):
                    for kernel, values in entry["kernels"].items():
                        found.setdefault(kernel, values)
    return found


def read(path: Path) -> list[Entry]:
    """Read a table; one that is not there is empty. Raises ClnetError, which says what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ClnetError(f"tuning: {path} cannot be read: {error}") from error
    try:
        table = json.loads(text)
    except ValueError as error:
        raise ClnetError(f"tuning: {path} is not JSON: {error}") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise ClnetError(f"tuning: {path} is no tuning table; needs format {FORMAT!r}")
    if table.get("version") != VERSION:
        raise ClnetError(
            f"tuning: {path} is of version {table.get('version')!r}; this clnet reads version "
            f"{VERSION}"
        )
    entries = table.get("entries")
    if not isinstance(entries, list) or not all(map(_well_formed, entries)):
        raise ClnetError(
            f"tuning: {path} has damaged entries; each needs match (some of {', '.join(KEYS)}) and "
            "kernels (integers by parameter by kernel)"
        )
    return entries


def write(device: Mapping[str, str], kernels: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Put parameters of kernels into a table's entry for a device, the others kept.

    The file is replaced as a whole, so that a reader sees the old table or the new one. Raises
    ClnetError where the file is there and is no table of this version, or cannot be written.
    """
    match = {key: device[key] for key in ("device", "platform", "driver")}
    entries = read(path)
    mine = next((entry for entry in entries if entry["match"] == match), None)
    if mine is None:
        mine = {"match": match, "kernels": {}}
        entries.append(mine)
    mine["kernels"].update({name: dict(values) for name, values in kernels.items()})
    text = json.dumps({"format": FORMAT, "version": VERSION, "entries": entries}, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, [f"{text}\n".encode()])
    except OSError as error:
        raise ClnetError(f"tuning: {path} cannot be written: {error}") from error
    _usable.cache_clear()


def _well_formed(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    match, kernels = entry.get("match"), entry.get("kernels")
    return (
        isinstance(match, dict)
        and bool(set(match) & set(_RANKS))
        and set(match) <= set(KEYS)
        and isinstance(kernels, dict)
        and all(
            isinstance(values, dict) and all(type(value) is int for value in values.values())
            for values in kernels.values()
        )
    )


@functools.cache
def _usable(path: Path) -> list[Entry]:
    """Read a table, or warn and go on as if there were none."""
    try:
        return read(path)
    except ClnetError as error:
        warnings.warn(f"{error}; it is ignored", RuntimeWarning, stacklevel=2)
        return []
