"""The launches of recurrent layers: all steps in one on CPUs, by tiles and mostly a step on GPUs.

Axis letters: t time, b batch, h hidden features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clnet.dtypes import accumulator, float64
from clnet.ops.cells import Cell
from clnet.ops.launch import ceil_div, index_type, scalars
from clnet.records import (
    Argument,
    In,
    Launch,
    Layout,
    Out,
    Prepared,
    Scalar,
    Scratch,
    Spec,
    Target,
)
from clnet.tunables import tunable

# Steps, batch, hidden features, of benchmarks and tuning.
LAYERS = (20, 64, 512), (32, 128, 256)
# Rows that a CPU's work-group takes at least, and work-items of a GPU's, of which there are
# `slices`.
LEAST_ROWS = 4
_ITEMS = 256
# rows: how many of the batch a work-group takes at most. tile, lanes: rows and columns that are
# held in registers; by default what 32 registers of 512 bits hold.
_RNN = tunable(
    "rnn",
    "lstm_states",
    ("cpu",),
    {"rows": (64, 32, 128, 16), "tile": (8, 4), "lanes": (32, 16)},
    LAYERS,
)
# tile_k, slices: as in the kernel; whole: hidden features up to which a launch takes all steps.
_TILED = tunable(
    "rnn_tiled",
    "lstm_states",
    ("gpu", "accelerator"),
    {"tile_k": (32, 16, 64), "slices": (2, 1, 4), "whole": (64, 0, 32, 128)},
    (*LAYERS, (50, 16, 64)),
)


class LayerSizes(NamedTuple):
    """Sizes of a layer: steps, batch, hidden features; and of what its ops pack in one vector."""

    t: int
    b: int
    h: int

    def rows(self, cell: Cell) -> int:
        """Number of states [b, h] that are packed."""
        return cell.states * (self.t + 1)

    def packed(self, cell: Cell, keep: bool) -> int:
        """Elements of the packed states, and of what is kept."""
        kept = cell.kept * self.t if keep else 0
        return (self.rows(cell) + kept) * self.b * self.h

    def grads(self, cell: Cell) -> int:
        """Elements of the packed cotangents."""
        return (cell.gates * (1 + cell.apart) * self.t + cell.states) * self.b * self.h

    def first(self, cell: Cell, reverse: bool) -> int:
        """The packed state at which the results begin: h of all steps, then the last c."""
        return self.t if reverse and cell.states == 2 else 0 if reverse else 1


class Pass(NamedTuple):
    """A pass over a layer, forward or backward.

    inputs   operands that the kernels take, in order, but for the weight.
    weight   the operand that is the weight [gates * h, h].
    place    how many of the inputs come before the weight where it is an argument among them.
    lengths  whether the last input is the lengths.
    flags    reverse, and forward keep.
    """

    cell: Cell
    sizes: LayerSizes
    forward: bool
    inputs: Sequence[int]
    weight: int
    place: int
    lengths: bool
    flags: Sequence[bool]

    def counts(self, x: Layout) -> str:
        """The type in which kernels count."""
        reach = self.sizes.grads(self.cell) + self.sizes.packed(self.cell, True)
        return index_type(Spec((reach,), x.dtype))

    @property
    def flag_arguments(self) -> list[Scalar]:
        """The flags as arguments."""
        return [Scalar("int", int(flag)) for flag in self.flags]


def by_tiles(target: Target) -> bool:
    """Whether a device takes the kernels by tiles: GPUs whose work-groups are large enough."""
    return target.type != "cpu" and target.max_work_group >= _ITEMS


def pass_launches(target: Target, of: Pass, operands: Sequence[Layout]) -> list[Launch]:
    """Return the launches of a pass."""
    launches = _tiled if by_tiles(target) else _whole
    return launches(target, of, operands[of.weight])


# --- CPUs ----------------------------------------------------------------------------------------
class _Division(NamedTuple):
    """How a batch is shared out: groups of `rows`, in tiles of `tile` rows by `lanes` columns."""

    groups: int
    rows: int
    tile: int
    lanes: int


def _division(target: Target, sizes: LayerSizes, x: Layout) -> _Division:
    units = target.compute_units
    chosen = _RNN.chosen(target)
    most, tile, lanes = chosen["rows"], chosen["tile"], chosen["lanes"]
    groups = min(units * ceil_div(sizes.b, units * most), ceil_div(sizes.b, LEAST_ROWS))
    rows = ceil_div(sizes.b, groups)
    if 4 * ceil_div(rows, tile) * tile > 5 * ceil_div(rows, LEAST_ROWS) * LEAST_ROWS:
        tile = LEAST_ROWS
    rows = ceil_div(rows, tile) * tile
    return _Division(ceil_div(sizes.b, rows), rows, tile, 16 if x.dtype is float64 else lanes)


def _whole(target: Target, of: Pass, x: Layout) -> list[Launch]:
    """Return the launch of all steps, which takes the weight packed."""
    cell, sizes = of.cell, of.sizes
    how = _division(target, sizes, x)
    index = of.counts(x)
    each = accumulator(x.dtype).itemsize
    wide = cell.gates * sizes.h
    columns = ceil_div(sizes.h, how.lanes)
    blocks, depth = (cell.gates, sizes.h) if of.forward else (1, wide)
    steps = (sizes.h, 1) if of.forward else (1, sizes.h)
    packed = Scratch("prepared", columns * blocks * depth * how.lanes * each, each)
    # An odd number of cache lines, so that the rows of a tile lie in different sets.
    stride = columns * how.lanes + 16
    wide_stride = ceil_div(wide, how.lanes) * how.lanes + 16
    areas = [stride] * (cell.states + 1) if of.forward else [wide_stride, *[stride] * cell.states]
    group_scratch = how.rows * sum(areas)
    scratch = Scratch("rows", how.groups * group_scratch * each, each)
    strides = areas[:1] if of.forward else (stride, wide_stride)
    named = (
        ("X", x.dtype.name),
        ("INDEX", index),
        ("LANES", str(how.lanes)),
        ("OWN_MATH", str(int(target.type == "cpu"))),
    )
    packing: tuple[Argument, ...] = (
        In(of.weight),
        packed,
        *scalars(index, sizes.h, depth, blocks, *steps),
    )
    pack = Launch("rnn_pack.cl", "rnn_pack", named[:-1], packing, (columns * blocks,), (1,))
    panels = Prepared(of.weight, packed.nbytes, each, pack)
    numbers = scalars(index, *sizes, how.rows, *strides, group_scratch)
    inputs = map(In, of.inputs)
    args: tuple[Argument, ...] = (
        *inputs, panels, Out(), scratch, *numbers, *of.flag_arguments
    )  # fmt: skip
    defines = (
        *named,
        ("CELL_TYPE", cell.name),
        ("TILE_M", str(how.tile)),
        ("LENGTHS", str(int(of.lengths))),
    )
    entry = "rnn_forward" if of.forward else "rnn_backward"
    return [Launch("rnn.cl", entry, defines, args, (how.groups,), (1,))]


# --- GPUs ----------------------------------------------------------------------------------------
def _tiled(target: Target, of: Pass, x: Layout) -> list[Launch]:
    """Return the launches of kernels/rnn_tiled.cl: one for all steps of a small layer, or each."""
    cell, (t, b, h) = of.cell, of.sizes
    chosen = _TILED.chosen(target)
    whole = h <= chosen["whole"]
    columns = 16 if h <= 16 or not whole else 32 if h <= 32 else 64
    blocks = cell.gates if of.forward else 1
    depth = h if of.forward else cell.gates * h
    itemsize = accumulator(x.dtype).itemsize
    tile_k, slices, each = chosen["tile_k"], chosen["slices"], 1

    def too_large() -> bool:
        lines = slices * (_ITEMS // columns * each + columns * blocks)
        joined = (slices - 1) * each * blocks * _ITEMS
        return (lines * (tile_k + 4) + joined + 16) * itemsize > target.local_memory

    most = min(target.max_work_group // _ITEMS, depth // tile_k)
    while slices > 1 and (slices > most or too_large()):
        slices //= 2
    while tile_k > 16 and too_large():
        tile_k //= 2
    while columns > 16 and too_large():
        columns //= 2
    rows = _ITEMS // columns
    # Where work-groups are many an item takes more rows; where they are few slices fill the device.
    groups = ceil_div(b, rows) * (1 if whole else ceil_div(h, columns))
    while each < 4 and groups >= 2 * each * target.compute_units:
        each, slices = 2 * each, 1
    while each > 1 and too_large():
        each //= 2
    edges = b % (rows * each) or h % columns or depth % (slices * tile_k)
    defines = (
        ("X", x.dtype.name),
        ("CELL_TYPE", cell.name),
        ("INDEX", of.counts(x)),
        ("COLUMNS", str(columns)),
        ("EACH", str(each)),
        ("TILE_K", str(tile_k)),
        ("SLICES", str(slices)),
        ("EDGES", str(int(bool(edges)))),
        ("LENGTHS", str(int(of.lengths))),
        ("OWN_MATH", "0"),
    )
    tiles = ceil_div(h, columns)
    size = (columns * (1 if whole else tiles), rows * ceil_div(b, rows * each), slices)
    inputs = [In(i) for i in of.inputs]
    inputs.insert(of.place, In(of.weight))
    carried = 0 if of.forward else cell.states
    if x.dtype.itemsize < itemsize:
        carried += 1 + cell.states if of.forward else 2 * cell.gates
    results: list[Argument] = [Out()]
    if carried:
        results.append(Scratch("carried", carried * b * h * itemsize, itemsize))
    steps = range(1, t + 1) if of.forward else range(t, -1, -1)
    spans = [(steps[0], steps[-1])] if whole else [(s, s) for s in steps]
    entry = "rnn_tiled_forward" if of.forward else "rnn_tiled_backward"
    return [
        Launch(
            "rnn_tiled.cl",
            entry,
            defines,
            (
                *inputs,
                *results,
                *scalars(of.counts(x), t, b, h, first, last, tiles if whole else 1),
                *of.flag_arguments,
            ),
            size,
            (columns, rows, slices),
        )
        for first, last in spans
    ]
