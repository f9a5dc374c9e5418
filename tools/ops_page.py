"""Write docs/ops.md: a row per op record, and what the record says about it.

python tools/ops_page.py           writes the page
python tools/ops_page.py --check   says whether it is stale, and exits with 1 if so
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from clnet import ops  # noqa: F401  (importing it registers the records)
from clnet.records import OPS, Op

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "ops.md"

HEADER = """\
# The ops

Written by `tools/ops_page.py` from the records in `clnet/ops/`: do not edit. All else that clnet
offers (softmax, `var`, `split`, losses, layers, ...) is composed of these.

- **how**: *fused* with its neighbours into one elementwise kernel; a *view*, which copies nothing
  where the layout allows; a *kernel* of its own.
- **dtypes**: *common* operands are brought to one dtype as in PyTorch; *float* the same, integers
  become float32; *last* all but the first; *as given* no operand is changed.
- **gradient**: the operands that have one, counted from 1; rules are made of ops, so they
  differentiate again.
- **layouts**: for kernels, whether they read views (transposed, strided, broadcast) as they lie,
  or a contiguous copy is made first.

"""
_DTYPES = {"same": "common", "float": "float", "last": "last", "": "as given"}


def how(op: Op) -> str:
    """Return how an op is computed."""
    return "fused" if op.expr is not None else "view" if op.view is not None else "kernel"


def gradient(op: Op) -> str:
    """Return which operands have a gradient."""
    if op.vjp is None:
        return "none"
    if not isinstance(op.vjp, tuple):
        return "by operand"
    return ", ".join(str(i) for i, rule in enumerate(op.vjp, 1) if rule is not None) or "none"


def layouts(op: Op) -> str:
    """Return which operands a kernel reads as they lie in memory."""
    if op.kernel is None or op.strided is True:
        return "any"
    if not op.strided:
        return "copied"
    return "any for " + ", ".join(str(i + 1) for i in op.strided)


def page(records: Iterable[Op]) -> str:
    """Return the page for records, sorted by name."""
    lines = [
        "| op | what it does | how | dtypes | gradient | layouts |",
        "|---|---|---|---|---|---|",
    ]
    for op in sorted(records, key=lambda op: op.name):
        what = op.doc.replace("|", "\\|")
        cells = [f"`{op.name}`", what, how(op), _DTYPES[op.promote], gradient(op), layouts(op)]
        lines.append(f"| {' | '.join(cells)} |")
    return HEADER + "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or with --check compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    text = page(OPS.values())
    if options.check:
        if not PAGE.exists() or PAGE.read_text() != text:
            sys.exit("docs/ops.md is stale: run python tools/ops_page.py")
    else:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
