"""Figures as text and as files, and the comparison with those of an earlier run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clnet.cli.bench.measure import Figures
from clnet.cli.devices import table
from clnet.device.limits import Limits
from clnet.errors import ClnetError
from clnet.files import replace

FORMAT, VERSION = "clnet bench", 1
# A change counts where it is beyond three times the noise of both runs, and beyond this part.
LEAST_CHANGE, NOISES = 0.05, 3.0


def limits_text(facts: dict[str, Any]) -> str:
    """Say what the device can do at most."""
    return (
        f"{facts['device']}\n"
        f"limits: {facts['flops'] * 1e-9:.1f} GFLOP/s, copy {facts['bandwidth'] * 1e-9:.1f} GB/s, "
        f"triad {facts['triad'] * 1e-9:.1f} GB/s, launch {facts['launch'] * 1e6:.1f} us, "
        f"round trip {facts['round_trip'] * 1e6:.1f} us"
    )


def results_text(found: Sequence[Figures], most: Limits, peers: Sequence[str]) -> str:
    """Return the table of figures; a peer's column is its time over ours."""
    head = ("work", "us", "+-%", "GFLOP/s", "GB/s", "% limit", *(f"{p}/clnet" for p in peers))
    rows = [head]
    for f in found:
        ratios = []
        for peer in peers:
            other = f.others.get(peer)
            ratios.append("-" if other is None else f"{other / f.seconds:.2f}")
        rows.append(
            (
                f.title,
                f"{f.seconds * 1e6:.1f}",
                f"{f.noise * 100:.1f}",
                f"{f.flops / f.seconds * 1e-9:.2f}",
                f"{f.nbytes / f.seconds * 1e-9:.2f}",
                f"{f.limit(most) * 100:.1f}",
                *ratios,
            )
        )
    return table(rows)


def save(path: Path, facts: dict[str, Any], found: Sequence[Figures]) -> None:
    """Write figures to a file, as a whole. Errors: ClnetError where it cannot be written."""
    results = [f.as_json() for f in found]
    text = json.dumps(
        {"format": FORMAT, "version": VERSION, "limits": facts, "results": results}, indent=2
    )
    try:
        replace(path, [f"{text}\n".encode()])
    except OSError as error:
        raise ClnetError(f"{path} cannot be written: {error}") from error


def load(path: Path) -> list[Figures]:
    """Read the figures of a file. Errors: ClnetError where it is none of `save`'s."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if (data["format"], data["version"]) != (FORMAT, VERSION):
            raise ValueError("of another format or version")
        return [Figures(**each) for each in data["results"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClnetError(f"{path} holds no figures of `clnet bench`: {error}") from error


def comparison(old: Sequence[Figures], new: Sequence[Figures]) -> tuple[str, int]:
    """Say what became slower or faster since an earlier run; returns the number of regressions."""
    before = {f.title: f for f in old}
    rows: list[tuple[str, ...]] = [("work", "was us", "is us", "change", "noise", "")]
    slower = 0
    for f in new:
        if f.title not in before:
            continue
        was = before[f.title]
        change = f.seconds / was.seconds - 1
        noise = (f.noise**2 + was.noise**2) ** 0.5
        word = ""
        if abs(change) > max(LEAST_CHANGE, NOISES * noise):
            word = "slower" if change > 0 else "faster"
        slower += word == "slower"
        times = (f"{x.seconds * 1e6:.1f}" for x in (was, f))
        rows.append((f.title, *times, f"{change:+.1%}", f"{noise:.1%}", word))
    return f"{table(rows)}\n{slower} of {len(rows) - 1} slower beyond the noise", slower
