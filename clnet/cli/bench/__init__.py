"""Time the ops on a device: GFLOP/s, GB/s and the part of the device's limits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

import clnet as cn
from clnet.cli.bench import report
from clnet.cli.bench.against import ROUNDS, Peers, medians
from clnet.cli.bench.custom import time_kernel
from clnet.cli.bench.measure import Figures, figures, step_of, summary, times_of
from clnet.cli.bench.roofline import draw
from clnet.cli.bench.work import Work, works
from clnet.device import set_default_device
from clnet.device.limits import latencies, limits


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `clnet bench`."""
    parser.add_argument("file", nargs="?", type=Path, help="a .cl file of your own")
    own = parser.add_argument_group("a kernel of your own")
    own.add_argument("--kernel", help="its name in the file")
    own.add_argument(
        "--args", nargs="+", default=[], help="float32[64,64] out:float32[64] int32=64"
    )
    own.add_argument("--global", dest="global_size", nargs="+", type=int, metavar="N")
    own.add_argument("--local", dest="local_size", nargs="+", type=int, metavar="N")
    own.add_argument("--flops", type=float, default=0.0, help="operations of a run")
    own.add_argument("--bytes", type=float, default=0.0, help="bytes that a run moves")
    own.add_argument("--build", default="", metavar="OPTIONS", help="of the compiler")
    own.add_argument("--check", metavar="FILE.py:FUNCTION", help="gives the right results")
    parser.add_argument("--op", action="append", default=[], help="only this op (repeatable)")
    parser.add_argument(
        "--size", action="append", default=[], help="as 1024 or 1280x512x512 (repeatable)"
    )
    parser.add_argument("--dtype", action="append", default=[], help="default: float32")
    parser.add_argument("--device", help="as CLNET_DEVICE: a name, a type or an index")
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="time for each work (default: %(default)g)"
    )
    parser.add_argument(
        "--against", default="", metavar="NAMES", help="numpy,torch,jax,tinygrad,clblast"
    )
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH", help="runs one of these"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="status 1 if slower than these figures"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="roofline, as PNG and SVG")


def run(options: argparse.Namespace) -> int:
    """Measure and print; the status is 1 for regressions, 130 after Ctrl-C."""
    on = cn.device(options.device)
    set_default_device(on)
    old = report.load(options.compare) if options.compare else []
    listed: list[Work | Path] = (
        [options.file] if options.file else [*works(options.op, options.size, options.dtype)]
    )
    names = [name for name in options.against.split(",") if name]
    peers = Peers(names, dict(given.split("=", 1) for given in options.python), on.index)
    most = limits(on)
    facts = summary(on, most, latencies(on))
    print(report.limits_text(facts), *peers.said, sep="\n", flush=True)
    found: list[Figures] = []
    interrupted = False
    try:
        for work in tqdm(listed, unit="work", disable=None, leave=False):
            if isinstance(work, Path):
                found.append(time_kernel(on, options))
            else:
                found.append(_timed(work, options.seconds, peers))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        peers.close()
    print(report.results_text(found, most, list(peers.children)))
    if options.json:
        report.save(options.json, facts, found)
    if options.plot:
        print("drawn:", *draw(options.plot, str(on), most, found))
    slower = 0
    if options.compare:
        text, slower = report.comparison(old, found)
        print(text)
    if interrupted:
        print(f"interrupted: {len(found)} of {len(listed)} were timed", file=sys.stderr)
        return 130
    return 1 if slower else 0


def _timed(work: Work, seconds: float, peers: Peers) -> Figures:
    """Time an op, and in turn with it the libraries that can do it."""
    step, flops, nbytes = step_of(work)
    able = peers.able(work)
    if not able:
        return figures(work.title, times_of(step, seconds), flops, nbytes)
    times: list[float] = []
    others: dict[str, list[float | None]] = {name: [] for name in able}
    for _ in range(ROUNDS):
        times += times_of(step, seconds / ROUNDS)
        for name in able:
            others[name].append(peers.seconds(name, work, seconds / ROUNDS))
    result = figures(work.title, times, flops, nbytes)
    result.others = {name: medians(rounds) for name, rounds in others.items()}
    return result
