"""List the OpenCL devices, which one is chosen, and why."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from clnet.device import Device, device, discover, format_bytes
from clnet.errors import DeviceError

_COLUMNS = ("index", "name", "vendor", "type", "driver", "memory", "fp16", "fp64", "choice")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `clnet devices`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> int:
    """Print the devices; the status is 1 where none can be chosen."""
    found = discover()
    chosen: Device | None = None
    problem = found.problem
    try:
        chosen = device()
    except DeviceError as error:
        problem = str(error)
    if options.json:
        facts = {
            "devices": [{**describe(each), "chosen": each is chosen} for each in found.devices],
            "skipped": [{"device": name, "reason": reason} for name, reason in found.skipped],
            "platforms": list(found.platforms),
            "problem": problem,
        }
        print(json.dumps(facts, indent=2))
    else:
        rows = [_row(each, chosen) for each in found.devices]
        if rows:
            print(table([_COLUMNS, *rows]))
        if found.devices:  # else the problem says it
            for name, reason in found.skipped:
                print(f"skipped {name}: {reason}")
        if problem:
            print(problem, file=sys.stderr)
    return 0 if chosen is not None else 1


def describe(each: Device) -> dict[str, Any]:
    """The facts of a device that `--json` prints; sizes in bytes."""
    return {
        "index": each.index,
        "name": each.name,
        "vendor": each.vendor,
        "type": each.type,
        "platform": each.platform,
        "platform_version": each.platform_version,
        "driver": each.driver,
        "memory": each.caps.memory,
        "largest_allocation": each.caps.max_allocation,
        "local_memory": each.caps.local_memory,
        "max_work_group": each.caps.max_work_group,
        "compute_units": each.caps.compute_units,
        "unified_memory": each.caps.unified_memory,
        "fp16": each.caps.fp16,
        "fp64": each.caps.fp64,
        "why": each.why,
    }


def _row(each: Device, chosen: Device | None) -> tuple[str, ...]:
    facts = describe(each)
    facts["driver"] = f"{each.platform} {each.driver}"
    facts["memory"] = format_bytes(each.caps.memory)
    for real in ("fp16", "fp64"):
        facts[real] = "yes" if facts[real] else "no"
    facts["choice"] = f"chosen: {each.why}" if each is chosen else each.why
    return tuple(str(facts[column]) for column in _COLUMNS)


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of words as aligned columns.

    >>> print(table([("index", "name"), ("0:0", "a device")]))
    index  name
    0:0    a device
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
