#!/usr/bin/env python3
"""What clnet itself costs: recording, planning, launching, waiting, importing, starting.

    python benchmarks/costs.py [--write]

`--write` puts the table into benchmarks/RESULTS.md, in place of the one there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from compare import write_section

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## What clnet itself costs"
sys.path.insert(0, str(ROOT))


def median(step: Callable[[], object], rounds: int = 30) -> float:
    """Return the median seconds of a step."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def graph_costs() -> dict[str, str]:
    """Return microseconds for each node, launch and evaluation."""
    import clnet as cn
    from clnet.device.limits import limits
    from clnet.engine.graph import Graph
    from clnet.engine.run import engine

    on = cn.device()
    x, y = cn.ones(4), cn.ones(4)
    cn.eval(x, y)

    def record() -> cn.Tensor:
        z = x
        for _ in range(500):
            z = (z + y) * y
        return z

    recording = median(record) / 1000
    z = record()
    keying = median(lambda: hash(Graph([z.node]).key)) / 1000
    # Reductions of the same value do not share a launch.
    many = cn.ones(64, 8)
    cn.eval(many)
    roots = [many.cumsum(0).node for _ in range(100)]
    graph = Graph(roots)
    program = engine.program(graph, on)
    program._until_serial = -1  # each launch by itself

    def launch() -> None:
        program.launch(program.bind(graph.nodes))

    launching = median(launch) / len(program.plan.tasks)
    cn.synchronize()

    def wait() -> None:
        (x + y).tolist()

    waiting = median(wait, 200)
    most = limits(on)
    return {
        "record an op": f"{recording * 1e6:.2f} us",
        "key a node": f"{keying * 1e6:.2f} us",
        "enqueue a launch of a known plan": f"{launching * 1e6:.2f} us",
        "add two tensors of 4 floats and read the result": f"{waiting * 1e6:.0f} us",
        "limit: multiply-adds, measured": f"{most.flops * 1e-9:.0f} GFLOP/s",
        "limit: copy of 64 MB, measured": f"{most.bandwidth * 1e-9:.1f} GB/s",
    }


def seconds_of(code: list[str], **env: str) -> float:
    """Return the wall time of a Python process."""
    # As installed: with byte code kept from the run before.
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *code], check=True, stdout=subprocess.DEVNULL, env={**given, **env}
    )
    return time.perf_counter() - start


def start_costs() -> dict[str, str]:
    """Return what importing and the smallest example cost."""
    path = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": tempfile.mkdtemp()}
    base = statistics.median(seconds_of(["-c", "import numpy, pyopencl"], **path) for _ in range(7))
    ours = statistics.median(
        seconds_of(["-c", "import numpy, pyopencl, clnet"], **path) for _ in range(7)
    )
    example = [str(ROOT / "examples" / "xor.py")]
    with tempfile.TemporaryDirectory() as fresh:
        empty = {"CLNET_CACHE": fresh, "POCL_CACHE_DIR": fresh}
        cold = seconds_of(example, **path, **empty)
        warm = statistics.median(seconds_of(example, **path, **empty) for _ in range(5))
    return {
        "import clnet, beyond numpy and pyopencl": f"{ours - base:.3f} s",
        "examples/xor.py beyond imports, caches empty": f"{cold - ours:.2f} s",
        "examples/xor.py beyond imports, caches filled": f"{warm - ours:.2f} s",
    }


def main() -> None:
    """Measure, print, and write the table if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    options = parser.parse_args()
    found = {**start_costs(), **graph_costs()}
    lines = [HEADING, "", "Written by `python benchmarks/costs.py --write`.", ""]
    lines += ["| what | cost |", "|---|---|", *(f"| {k} | {v} |" for k, v in found.items())]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        write_section(text)


if __name__ == "__main__":
    main()
