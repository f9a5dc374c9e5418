"""Measure which parameters of the kernels are best on a device, and write them to your table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

import clnet as cn
from clnet.cli.child import Child
from clnet.cli.tune.search import PATIENCE, Found, search
from clnet.device import tuning
from clnet.engine.run import target
from clnet.errors import ClnetError
from clnet.tunables import TUNABLES


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `clnet tune`."""
    parser.add_argument("--op", action="append", default=[], help="tune only this op's kernels")
    parser.add_argument("--device", help="as CLNET_DEVICE: a name, a type or an index")
    parser.add_argument("--output", type=Path, help="the table to write (default: your own)")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help="limit for one candidate (default: %(default)g)",
    )


def run(options: argparse.Namespace) -> int:
    """Search, print what was gained, and write the table; the status is 130 after Ctrl-C."""
    on = cn.device(options.device)
    path = options.output or tuning.user_file()
    tuning.read(path)  # a table that cannot be added to is better known before the search
    facing = target(on)
    names = {space.op for space in TUNABLES.values()}
    unknown = [op for op in options.op if op not in names]
    if unknown:
        raise ClnetError(f"no kernel of {', '.join(unknown)} can be tuned; choose {sorted(names)}")
    spaces = [
        space
        for space in TUNABLES.values()
        if facing.type in space.types and (not options.op or space.op in options.op)
    ]
    print(f"{on}: {len(spaces)} kernels to tune", flush=True)
    results: list[Found] = []
    child = Child([sys.executable, "-m", "clnet.cli.tune.trial", on.index])
    interrupted = False
    total = sum(len(values) - 1 for space in spaces for values in space.parameters.values())
    try:
        # Nothing is shown where stderr is no terminal.
        with tqdm(total=total, unit="candidate", disable=None, leave=False) as bar:
            for space in spaces:
                start = space.chosen(facing)
                results.append(Found(space, start, start))
                bar.set_description(space.kernel)
                search(results[-1], child, bar.update, options.patience)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        child.close()
    for found in results:
        print(report(found))
    if results:
        kernels = {found.space.kernel: found.best for found in results}
        tuning.write(tuning.facts(on), kernels, path)
        print(f"written to {path}")
    if interrupted:
        print("interrupted: what was found until then is kept", file=sys.stderr)
    return 130 if interrupted else 0


def report(found: Found) -> str:
    """Say what came of a kernel's search."""

    def words(parameters: dict[str, int]) -> str:
        return " ".join(f"{name}={value}" for name, value in parameters.items())

    lines = [f"{found.space.kernel}: {found.tried} candidates, {len(found.refused)} refused"]
    if found.best == found.start:
        lines.append(f"  {words(found.best)} stays the best")
    else:
        lines.append(
            f"  {words(found.best)}: {found.gain:.2f} times as fast as {words(found.start)}"
        )
    lines += [f"  refused {words(p)}: {reason}" for p, reason in found.refused]
    return "\n".join(lines)
