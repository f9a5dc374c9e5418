"""How folds over the dims before the last are shared out, by a kernel of their own or a fused one.

Both take it from here, so that both add the same numbers in the same order.
"""

from __future__ import annotations

from typing import NamedTuple

from clnet.records import Target

# As in kernels/reduce.cl and kernels/columns.cl: columns of a work-item at most, and the
# accumulators of a walk along a row, by whose number chunks are rounded up.
COLUMNS = 2048
LANES = 64


class Chunks(NamedTuple):
    """Chunks that the `total` elements of a fold are cut into: their number, and their length."""

    number: int
    length: int


def chunks_of(total: int, parallel: int, wanted: int, least: int) -> Chunks:
    """Cut a fold of `total` elements so that `parallel` times the chunks are about `wanted`.

    No chunk is shorter than `least`, but the last.
    """
    number = max(1, min(-(-wanted // parallel), total // least))
    share = -(-total // number)
    length = -(-share // LANES) * LANES
    return Chunks(-(-total // length), length)


def column_chunks(target: Target, rows: int, columns: int, total: int) -> Chunks:
    """Cut folds of `total` elements each, in `rows` rows of neighbouring `columns`."""
    if target.type != "cpu":
        return chunks_of(total, rows * columns, 2048 * target.compute_units, 128)
    parallel = -(-columns // COLUMNS) * rows
    # Many more groups than cores: a thread that PoCL wakes late then still gets its share.
    least = 32768 // min(rows * columns, 512) + LANES
    return chunks_of(total, parallel, 32 * target.compute_units, least)


def columns_across(target: Target, groups: int, columns: int) -> int:
    """Return how many columns a work-item takes, where `groups` rows and chunks share them out.

    Whole rows where there are groups enough, pieces of them where there are not.
    """
    if target.type != "cpu":
        return 1
    parts = min(-(-columns // 512), -(-2 * target.compute_units // groups))
    share = -(-columns // parts)
    return min(COLUMNS, -(-share // LANES) * LANES)
