"""The roofline picture: what each op reached, under what the device can do at most.

Williams, Waterman, Patterson: Roofline, an insightful visual performance model (2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clnet.cli.bench.measure import Figures
from clnet.device.limits import Limits
from clnet.errors import ClnetError


def draw(path: Path, title: str, most: Limits, found: Sequence[Figures]) -> list[Path]:
    """Write the picture as PNG and as SVG, and return both paths.

    Works without arithmetic have no place on it. Errors: ClnetError without matplotlib, or where
    it cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ClnetError("--plot needs matplotlib: `pip install clnet[plot]`") from error
    points = [f for f in found if f.flops and f.nbytes]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.add_subplot()
    ridge = most.flops / most.bandwidth
    at = [f.flops / f.nbytes for f in points] + [ridge]
    left, right = min(at) / 2, max(at) * 4
    axes.plot(
        [left, ridge, right],
        [most.bandwidth * left * 1e-9, most.flops * 1e-9, most.flops * 1e-9],
        color="black",
        label=f"limit: {most.flops * 1e-9:.0f} GFLOP/s, {most.bandwidth * 1e-9:.1f} GB/s",
    )
    # The same op at several sizes is one colour; too many names would cover each other.
    names = list(dict.fromkeys(f.title.partition(" ")[0] for f in points))
    for number, name in enumerate(names):
        own = [f for f in points if f.title.partition(" ")[0] == name]
        axes.plot(
            [f.flops / f.nbytes for f in own],
            [f.flops / f.seconds * 1e-9 for f in own],
            "osD^v<>ph*"[number // 10 % 10],
            color=f"C{number % 10}",
            label=name,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(left, right),
        xlabel="operations per byte",
        ylabel="GFLOP/s",
        title=title,
    )
    axes.grid(True, which="major", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=7, ncols=1 + len(names) // 36)
    paths = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for each in paths:
        try:
            figure.savefig(each, dpi=150)
        except OSError as error:
            raise ClnetError(f"{each} cannot be written: {error}") from error
    return paths
