#!/usr/bin/env python3
"""Compare clnet with NumPy and PyTorch on small pieces of work, and write benchmarks/RESULTS.md.

    python benchmarks/compare.py [--rounds 5] [--write]

Every contender works in a process of its own, and all are asked in turn, so that a drift of the
machine's load meets all alike; a figure is the median over rounds of the median of a round. Every
process may use all cores. NumPy has no gradients and does the matrix product only; PyTorch is left
out where it is not installed. `--python torch=PATH` runs it with another interpreter.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
CONTENDERS = ("clnet", "torch", "numpy")
WORK = {
    "matmul 512 x 512 x 512": ("matmul", 30),
    "XOR: one example, 8 hidden units, loss read": ("xor", 300),
    "MLP 784-512-512-10, batch 128, SGD step": ("mlp", 20),
    "char LM: RNN 256, batch 128, 32 steps, SGD with momentum": ("rnn", 10),
}
Step = Callable[[], Any]


def framework(name: str) -> tuple[Any, Callable[[], None]]:
    """Return a namespace with the names that clnet shares with PyTorch, and how to wait for it."""
    if name == "clnet":
        sys.path.insert(0, str(ROOT))
        import clnet
        from clnet import functional

        clnet.F = functional  # type: ignore[attr-defined]
        clnet.clip = clnet.nn.clip_grad_norm_  # type: ignore[attr-defined]
        return clnet, clnet.synchronize
    import torch

    torch.F = torch.nn.functional
    torch.clip = torch.nn.utils.clip_grad_norm_
    return torch, lambda: None


def matmul(name: str) -> tuple[Step, Callable[[], None]]:
    """One product of float32 matrices."""
    a, b = np.random.default_rng(0).normal(size=(2, 512, 512)).astype(np.float32)
    if name == "numpy":
        return lambda: a @ b, lambda: None
    f, wait = framework(name)
    x, y = f.tensor(a), f.tensor(b)
    return (lambda: f.eval(x @ y) if name == "clnet" else x @ y), wait


def trained(f: Any, net: Any, loss_of: Step, momentum: float, clip: bool = False) -> Step:
    """Return one step of training."""
    optimizer = f.optim.SGD(net.parameters(), lr=0.01, momentum=momentum)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        if clip:
            f.clip(net.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def xor(name: str) -> tuple[Step, Callable[[], None]]:
    """A step on one example, after which the loss is read."""
    f, wait = framework(name)
    net = f.nn.Sequential(f.nn.Linear(2, 8), f.nn.Tanh(), f.nn.Linear(8, 1))
    x, y = f.tensor([1.0, -1.0]), f.tensor([1.0])
    step = trained(f, net, lambda: f.F.mse_loss(net(x), y), 0.0)
    return lambda: step().item(), wait


def mlp(name: str) -> tuple[Step, Callable[[], None]]:
    """A step of a multi-layer perceptron on the sizes of MNIST."""
    f, wait = framework(name)
    layers = [f.nn.Linear(784, 512), f.nn.ReLU(), f.nn.Linear(512, 512), f.nn.ReLU()]
    net = f.nn.Sequential(*layers, f.nn.Linear(512, 10))
    rng = np.random.default_rng(0)
    x = f.tensor(rng.normal(size=(128, 784)).astype(np.float32))
    y = f.tensor(rng.integers(0, 10, 128))
    return trained(f, net, lambda: f.F.cross_entropy(net(x), y), 0.9), wait


def rnn(name: str) -> tuple[Step, Callable[[], None]]:
    """A step of the character model of examples/char_lm.py with its default sizes."""
    f, wait = framework(name)
    net = f.nn.ModuleList([f.nn.Embedding(128, 64), f.nn.RNN(64, 256), f.nn.Linear(256, 128)])
    symbols = f.tensor(np.random.default_rng(0).integers(0, 128, (33, 128)))

    def loss_of() -> Any:
        hidden, _ = net[1](net[0](symbols[:-1]))
        return f.F.cross_entropy(net[2](hidden).flatten(0, 1), symbols[1:].flatten())

    return trained(f, net, loss_of, 0.9, clip=True), wait


def serve(name: str) -> None:
    """Answer requests, lines of `work count` on standard input, with seconds per step."""
    ready: dict[str, tuple[Step, Callable[[], None]]] = {}
    for line in sys.stdin:
        work, count = line.split()
        try:
            if work not in ready:
                ready[work] = {"matmul": matmul, "xor": xor, "mlp": mlp, "rnn": rnn}[work](name)
        except ImportError:
            print("null", flush=True)
            continue
        step, wait = ready[work]
        for _ in range(3):
            step()
        wait()
        times = []
        for _ in range(int(count)):
            start = time.perf_counter()
            step()
            wait()
            times.append(time.perf_counter() - start)
        print(json.dumps(statistics.median(times)), flush=True)


def measure(rounds: int, pythons: dict[str, str]) -> dict[str, dict[str, float | None]]:
    """Return seconds by work and contender (None: cannot do it, or is not installed)."""
    servers = {
        name: subprocess.Popen(
            [pythons.get(name, sys.executable), __file__, "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in CONTENDERS
    }
    found: dict[str, dict[str, list[float]]] = {w: {c: [] for c in CONTENDERS} for w in WORK}
    for _ in range(rounds):
        for title, (work, count) in WORK.items():
            for name, server in servers.items():
                if name == "numpy" and work != "matmul":
                    continue
                assert server.stdin is not None
                assert server.stdout is not None
                print(work, count, file=server.stdin, flush=True)
                answer = json.loads(server.stdout.readline() or "null")
                if answer is not None:
                    found[title][name].append(answer)
    for server in servers.values():
        server.communicate()
    return {
        title: {name: statistics.median(times) if times else None for name, times in row.items()}
        for title, row in found.items()
    }


def processor() -> str:
    """Return the processor's name where the system says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def page(found: dict[str, dict[str, float | None]], device: str, rounds: int) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Results",
        "",
        f"{datetime.date.today()}, {os.cpu_count()} cores of {processor()}; clnet on {device}.",
        "Written by `python benchmarks/compare.py --write`.",
        f"Medians of {rounds} rounds, in milliseconds, waiting for the result included.",
        "Only the ratio means anything on another machine: above 1 clnet is faster.",
        "",
        "| work | clnet | PyTorch | NumPy | PyTorch / clnet |",
        "|---|---|---|---|---|",
    ]
    for title, row in found.items():
        own, peer = row["clnet"], row["torch"]
        cells = ["" if row[c] is None else f"{row[c] * 1e3:.3g}" for c in CONTENDERS]  # type: ignore[operator]
        ratio = f"{peer / own:.2f}" if own and peer else ""
        lines.append(f"| {title} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write the page if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    parser.add_argument("--serve", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    found = measure(options.rounds, dict(given.split("=", 1) for given in options.python))
    f, _ = framework("clnet")
    text = page(found, str(f.device()), options.rounds)
    print(text)
    if options.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
