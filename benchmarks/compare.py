#!/usr/bin/env python3
"""Compare clnet with other libraries on pieces of work, and write benchmarks/RESULTS.md.

    python benchmarks/compare.py [--rounds 5] [--only PART OF A TITLE] [--write]
    TORCH_DEVICE=cuda python benchmarks/compare.py      PyTorch on the GPU (float32, TF32 off)
    python benchmarks/compare.py --implementations NAME=FOLDER NAME=FOLDER

The libraries are PyTorch, JAX, NumPy, tinygrad (on OpenCL) and CLBlast. With `--implementations` it
is clnet itself, on the OpenCL implementations that `OCL_ICD_VENDORS=FOLDER` shows.

Every contender works in a process of its own, and all are asked in turn, so that a drift of the
machine's load meets all alike; a figure is the median over rounds of the median of a round. Every
process may use all cores. 'compiled' is clnet with the step in `cn.compile`. Contenders that are
not installed are left out; `--python torch=PATH` runs one with another interpreter.
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
COLUMNS = {
    "clnet": "clnet",
    "compiled": "compiled",
    "torch": "PyTorch",
    "jax": "JAX jit",
    "numpy": "NumPy",
}
RATIOS = {
    "PyTorch / clnet": ("torch", "clnet"),
    "PyTorch / compiled": ("torch", "compiled"),
    "JAX / clnet": ("jax", "clnet"),
    "tinygrad / clnet": ("tinygrad", "clnet"),
    "CLBlast / clnet": ("clblast", "clnet"),
}
OPTIONAL = ("tinygrad / clnet", "CLBlast / clnet")  # columns only where there are figures
CONTENDERS = (*COLUMNS, "tinygrad", "clblast")
Found = dict[str, dict[str, float | None]]


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


def measure(
    rounds: int, contenders: dict[str, tuple[str, str, dict[str, str]]], only: list[str]
) -> Found:
    """Return seconds by work and contender (None: cannot do it, or is not installed).

    A contender is an interpreter, whom it serves, and what its environment has besides ours.
    """
    servers = {
        name: subprocess.Popen(
            [python, __file__, "--serve", served],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, (python, served, environment) in contenders.items()
    }
    found: Found = {}
    for title in (t for t in WORK if not only or any(part in t for part in only)):
        times: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, server in servers.items():
                assert server.stdin is not None
                assert server.stdout is not None
                print(title, file=server.stdin, flush=True)
                answer = json.loads(server.stdout.readline() or "null")
                if answer is not None:
                    times[name].append(answer)
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


def milliseconds(seconds: float | None) -> str:
    """Return a cell of the table."""
    return "" if seconds is None else f"{seconds * 1e3:.3g}"


def ratio(row: dict[str, float | None], peer: str, own: str) -> str:
    """Return a cell of the table: how many times as long the peer takes."""
    a, b = row[peer], row[own]
    return f"{a / b:.2f}" if a and b else ""


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace(" --- ", "---")


def page(found: Found, device: str, rounds: int) -> str:
    """Return the results as Markdown."""
    shown = [
        (name, pair)
        for name, pair in RATIOS.items()
        if name not in OPTIONAL or any(row[pair[0]] for row in found.values())
    ]
    rows = [
        [title, *(milliseconds(row[name]) for name in COLUMNS), *(ratio(row, *p) for _, p in shown)]
        for title, row in found.items()
    ]
    return (
        f"## {device}\n\n{datetime.date.today()}, {os.cpu_count()} cores of {processor()}, PyTorch "
        f"on {os.environ.get('TORCH_DEVICE', 'cpu')}. Medians of {rounds} rounds.\n\n"
    ) + markdown(["work", *COLUMNS.values(), *(name for name, _ in shown)], rows)


def implementations_page(found: Found, folders: dict[str, str], rounds: int) -> str:
    """Return clnet's results on two implementations or more, each beside the first."""
    first, *others = folders
    rows = [
        [
            title,
            *(milliseconds(row[name]) for name in folders),
            *(ratio(row, first, name) for name in others),
        ]
        for title, row in found.items()
    ]
    return (
        f"## {' and '.join(others)} beside {first}\n\n{datetime.date.today()}, clnet on "
        f"{os.cpu_count()} cores of {processor()}. Medians of {rounds} rounds; "
        f"above 1 it is slower on {first}.\n\n"
        + "".join(f"- {name}: {device_of(folder)}\n" for name, folder in folders.items())
        + "\n"
    ) + markdown(["work", *folders, *(f"{first} / {name}" for name in others)], rows)


def device_of(folder: str) -> str:
    """Return the device that clnet chooses where a folder's implementations are seen."""
    command = [sys.executable, "-c", "import clnet; print(clnet.device())"]
    environment = {**os.environ, "OCL_ICD_VENDORS": folder, "PYTHONPATH": str(ROOT)}
    return subprocess.check_output(command, env=environment, text=True).strip()


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
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PART", help="of the titles of the work to do"
    )
    parser.add_argument("--implementations", nargs="+", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    contenders: dict[str, tuple[str, str, dict[str, str]]]
    if options.implementations:
        folders = dict(given.rsplit("=", 1) for given in options.implementations)
        contenders = {
            name: (sys.executable, "clnet", {"OCL_ICD_VENDORS": folder})
            for name, folder in folders.items()
        }
        found = measure(options.rounds, contenders, options.only)
        text = implementations_page(found, folders, options.rounds)
    else:
        pythons = dict(given.split("=", 1) for given in options.python)
        contenders = {n: (pythons.get(n, sys.executable), n, {}) for n in CONTENDERS}
        found = measure(options.rounds, contenders, options.only)
        f, _ = framework("clnet")
        text = page(found, str(f.device()), options.rounds)
    print(text)
    if options.write:
        write_section(text)


if __name__ == "__main__":
    main()
