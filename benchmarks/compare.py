#!/usr/bin/env python3
"""Compare clnet with other libraries on pieces of work, and write benchmarks/RESULTS.md.

    python benchmarks/compare.py [--rounds 5] [--only PART OF A TITLE] [--write]
    TORCH_DEVICE=cuda python benchmarks/compare.py      PyTorch on the GPU (float32, TF32 off)
    python benchmarks/compare.py --opencl debian=FOLDER --opencl pypi=FOLDER
        clnet alone, on OpenCL implementations whose vendor files (.icd) are in these folders

Every contender works in a process of its own, and all are asked in turn, another one first in each
round, so that a drift of the machine's load meets all alike, and with a pause in between, because
threads of OpenBLAS and others spin on for a while. A figure is the median over rounds of the median
of a round. Every process may use all cores. 'compiled' is clnet with the step in `cn.compile`.
Contenders that are not installed are left out; `--python torch=PATH` runs one with another
interpreter.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from work import WORK, framework

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
CONTENDERS = {
    "clnet": "clnet",
    "compiled": "compiled",
    "torch": "PyTorch",
    "jax": "JAX jit",
    "numpy": "NumPy",
    "tinygrad": "tinygrad",
    "clblast": "CLBlast",
}
# Seconds between contenders: NumPy's threads took time from whoever followed, up to half of it.
_SETTLE = 0.2


def serve(name: str) -> None:
    """Answer requests, titles of work on standard input, with seconds per step."""
    ready: dict[str, Any] = {}
    for line in sys.stdin:
        title = line.strip()
        make, count = WORK[title]
        try:
            if title not in ready:
                ready.clear()  # one work's tensors at a time
                ready[title] = make(name)
        except ImportError:
            ready[title] = None
        if ready[title] is None:
            print("null", flush=True)
            continue
        step, wait = ready[title]
        for _ in range(5):
            step()
        wait()
        times = []
        for _ in range(count):
            start = time.perf_counter()
            step()
            wait()
            times.append(time.perf_counter() - start)
        print(json.dumps(statistics.median(times)), flush=True)


def contenders(pythons: dict[str, str], folders: dict[str, str]) -> dict[str, subprocess.Popen]:
    """Start a process for each library, or for clnet on each OpenCL implementation."""
    found = {}
    for name in folders or CONTENDERS:
        python, library = pythons.get(name, sys.executable), "clnet" if folders else name
        vendors = {"OCL_ICD_VENDORS": folders[name]} if folders else {}
        found[name] = subprocess.Popen(
            [python, __file__, "--serve", library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **vendors},
        )
    return found


def measure(
    rounds: int, servers: dict[str, subprocess.Popen], only: list[str]
) -> dict[str, dict[str, float | None]]:
    """Return seconds by work and contender (None: cannot do it, or is not installed)."""
    found: dict[str, dict[str, float | None]] = {}
    for title in (t for t in WORK if not only or any(part in t for part in only)):
        times: dict[str, list[float]] = {name: [] for name in servers}
        names = list(servers)
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                server = servers[name]
                assert server.stdin is not None
                assert server.stdout is not None
                print(title, file=server.stdin, flush=True)
                answer = json.loads(server.stdout.readline() or "null")
                if answer is not None:
                    times[name].append(answer)
                    time.sleep(_SETTLE)
        found[title] = {n: statistics.median(t) if t else None for n, t in times.items()}
        print(title, {n: t and f"{t * 1e3:.3g}" for n, t in found[title].items()}, file=sys.stderr)
    for server in servers.values():
        server.communicate()
    return found


def processor() -> str:
    """Return the processor's name where the system says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def ratio(row: dict[str, float | None], peer: str, own: str) -> str:
    """Return a peer's time over ours, empty where one is not known."""
    a, b = row[peer], row[own]
    return f"{a / b:.2f}" if a and b else ""


def table(
    found: dict[str, dict[str, float | None]], names: dict[str, str], pairs: list[tuple[str, str]]
) -> str:
    """Return times in milliseconds, by contender, and ratios of pairs, as Markdown.

    Contenders without a time have no column.
    """
    names = {n: title for n, title in names.items() if any(row[n] for row in found.values())}
    pairs = [(a, b) for a, b in pairs if a in names and b in names]
    titles = ["work", *names.values(), *(f"{names[a]} / {names[b]}" for a, b in pairs)]
    lines = [f"| {' | '.join(titles)} |", f"|{len(titles) * '---|'}"]
    for title, row in found.items():
        cells = [f"{t * 1e3:.3g}" if (t := row[n]) is not None else "" for n in names]
        cells += [ratio(row, *pair) for pair in pairs]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def conditions(rounds: int) -> str:
    """Return when, and on what machine."""
    return f"{datetime.date.today()}, {os.cpu_count()} cores of {processor()}, {rounds} rounds."


def page(found: dict[str, dict[str, float | None]], device: str, rounds: int) -> str:
    """Return the results beside those of other libraries."""
    pairs = [("torch", "clnet"), ("torch", "compiled")]
    pairs += [(peer, "clnet") for peer in ("jax", "tinygrad", "clblast")]
    on = os.environ.get("TORCH_DEVICE", "cpu")
    text = f"{conditions(rounds)} PyTorch on {on}."
    return f"## {device}\n\n{text}\n\n{table(found, CONTENDERS, pairs)}\n"


def implementations_page(found: dict[str, dict[str, float | None]], rounds: int) -> str:
    """Return the results of clnet on OpenCL implementations, the others' over the last one's."""
    *others, last = next(iter(found.values()))
    names = {name: name for name in (*others, last)}
    pairs = [(other, last) for other in others]
    return f"## {' and '.join(names)}\n\n{conditions(rounds)}\n\n{table(found, names, pairs)}\n"


def write_section(text: str) -> None:
    """Put a section, its heading first, into the page, in place of the one of the same heading."""
    intro, *sections = re.split(r"^(?=## )", RESULTS.read_text(), flags=re.MULTILINE)
    heading = text.partition("\n")[0]
    kept = [section.rstrip() for section in sections if section.partition("\n")[0] != heading]
    RESULTS.write_text("\n\n".join([intro.rstrip(), text.rstrip(), *kept]) + "\n")


def main() -> None:
    """Measure, print, and write the page if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--opencl", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PART", help="of the titles of the work to do"
    )
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    pythons, folders = (
        dict(given.split("=", 1) for given in each) for each in (options.python, options.opencl)
    )
    found = measure(options.rounds, contenders(pythons, folders), options.only)
    if folders:
        text = implementations_page(found, options.rounds)
    else:
        f, _ = framework("clnet")
        text = page(found, str(f.device()), options.rounds)
    print(text)
    if options.write:
        write_section(text)


if __name__ == "__main__":
    main()
