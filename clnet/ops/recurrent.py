"""Recurrent layers, all steps as one op: for each cell its states, and their gradients.

`<cell>_states` computes the states of all steps and what the gradient needs of them, packed in one
vector, and `<cell>_backward` the cotangents; `layer` makes views of these. Axis letters: t time,
b batch, h hidden features.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from clnet import core
from clnet.core import Tensor
from clnet.dtypes import int32
from clnet.errors import DTypeError, ShapeError
from clnet.modes import modes
from clnet.ops.cells import CELLS, NUMPY, TENSORS, Cell, back, given, run
from clnet.ops.join import cat
from clnet.ops.launch import ceil_div
from clnet.ops.linalg import matmul
from clnet.ops.parts import narrow
from clnet.ops.recurrent_launch import (
    LAYERS,
    LEAST_ROWS,
    LayerSizes,
    Pass,
    by_tiles,
    pass_launches,
)
from clnet.ops.views import permute, reshape, slice_
from clnet.records import (
    Arg,
    Launch,
    Layout,
    Op,
    Sample,
    Sizes,
    Spec,
    Target,
    register,
    row_major,
)

# Weights, in elements, that a core's own cache holds.
_SMALL = 1 << 18


def _sizes(cell: Cell, pre: Any) -> LayerSizes:
    t, b, wide = pre.shape
    return LayerSizes(t, b, wide // cell.gates)


def _check(cell: Cell, pre: Spec, *operands: Spec) -> LayerSizes:
    name = cell.name
    least = cell.states + 2
    if pre.ndim != 3 or pre.shape[-1] % cell.gates or not least <= len(operands) <= least + 1:
        raise ShapeError(
            f"{name}: got {', '.join(map(str, (pre, *operands)))}; needs the input's part "
            f"[t, b, {cell.gates} * h], {cell.states} states [b, h], weight, bias, perhaps lengths"
        )
    sizes = _sizes(cell, pre)
    wide = cell.gates * sizes.h
    named = given(cell, operands)
    wanted: list[tuple[Spec, tuple[int, ...]]]
    wanted = [(s, (sizes.b, sizes.h)) for s in named.first]
    wanted.append((named.weight, (wide, sizes.h)))
    wanted.append((named.bias, (wide,)))
    for spec, shape in wanted:
        if spec.shape != shape or spec.dtype is not pre.dtype or pre.dtype.kind != "f":
            raise (ShapeError if spec.shape != shape else DTypeError)(
                f"{name}: got {spec} with the input's part {pre}; "
                f"needs floating-point {pre.dtype.name}{list(shape)}"
            )
    if named.lengths is not None and named.lengths != Spec((sizes.b,), int32):
        raise ShapeError(f"{name}: got lengths {named.lengths}; needs int32[{sizes.b}]")
    return sizes


# --- the records ---------------------------------------------------------------------------------
def _states(cell: Cell) -> Op:
    """Return the record of all states, packed, with what is kept of them if `keep`."""
    least = 3 + cell.states

    def kernel(
        target: Target, out: Spec, ins: tuple[Layout, ...], reverse: bool, keep: bool
    ) -> list[Launch]:
        if not out.size:
            return []
        weight = 1 + cell.states
        inputs = [i for i in range(len(ins)) if i != weight]
        of = Pass(
            cell, _sizes(cell, ins[0]), True, inputs, weight, weight, len(ins) > least,
            (reverse, keep),
        )  # fmt: skip
        return pass_launches(target, of, ins)

    def spec(pre: Spec, *operands: Spec, reverse: bool, keep: bool) -> Spec:
        return Spec((_check(cell, pre, *operands).packed(cell, keep),), pre.dtype)

    def reference(pre: Any, *operands: Any, reverse: bool, keep: bool) -> Any:
        states, kept = run(NUMPY, cell, pre, operands, reverse)
        rows = [h for h, *_ in states] + [c for _, *cs in reversed(states) for c in cs]
        blocks = [np.concatenate(values, -1) for values in kept] if keep and cell.kept else []
        parts = rows[::-1] + blocks[::-1] if reverse else rows + blocks
        return np.concatenate([x.reshape(-1) for x in parts])

    def sample(t: int, b: int, h: int, lengths: bool, reverse: bool, keep: bool) -> Sample:
        return Sample(_arguments(cell, t, b, h, lengths), {"reverse": reverse, "keep": keep})

    def cost(out: Spec, pre: Spec, *operands: Spec, **attrs: Any) -> tuple[float, float]:
        h = pre.shape[-1] // cell.gates
        moved = out.size + pre.size + sum(o.size for o in operands)
        return 2.0 * pre.size * h, float(moved * pre.dtype.itemsize)

    return register(
        Op(
            f"{cell.name}_states",
            "The states of a recurrent layer after all steps, and what their gradient needs.",
            spec,
            reference,
            (
                sample(3, 5, 33, True, False, True),
                sample(2, 9, 7, False, True, True),
                sample(1, 2, 1, True, True, False),
            ),
            # They are kept for the gradient, which flows past them: through the views of them.
            joint=lambda d, packed, *operands, **attrs: (None,) * len(operands),
            kernel=kernel,
            cost=cost,
            sizes=Sizes(lambda t, b, h: sample(t, b, h, False, False, True), LAYERS),
        )
    )  # fmt: skip


def _arguments(cell: Cell, t: int, b: int, h: int, lengths: bool) -> tuple[Arg, ...]:
    wide = cell.gates * h
    args = [Arg((t, b, wide)), *[Arg((b, h))] * cell.states, Arg((wide, h), -0.5, 0.5)]
    args += [Arg((wide,))] + [Arg((b,), 1, t + 0.9, "int32")] * lengths
    return tuple(args)


def _backward(cell: Cell) -> Op:
    """Return the record of the cotangents, packed, of d on the results and of packed states."""
    least = 5 + cell.states

    def kernel(target: Target, out: Spec, ins: tuple[Layout, ...], reverse: bool) -> list[Launch]:
        if not out.size:
            return []
        inputs = [0, 1, *range(least, len(ins))]
        of = Pass(
            cell, _sizes(cell, ins[2]), False, inputs, 3 + cell.states, 2, len(ins) > least,
            (reverse,),
        )  # fmt: skip
        return pass_launches(target, of, ins)

    def spec(d: Spec, packed: Spec, pre: Spec, *operands: Spec, reverse: bool) -> Spec:
        sizes = _check(cell, pre, *operands)
        wanted = (sizes.t + cell.states - 1, sizes.b, sizes.h)
        for value, shape in ((d, wanted), (packed, (sizes.packed(cell, True),))):
            if value != Spec(shape, pre.dtype):
                raise ShapeError(
                    f"{cell.name}_backward: got {value}; needs {pre.dtype.name}{list(shape)}"
                )
        return Spec((sizes.grads(cell),), pre.dtype)

    def reference(d: Any, packed: Any, pre: Any, *operands: Any, reverse: bool) -> Any:
        t, b, h = sizes = _sizes(cell, pre)
        count = sizes.rows(cell)
        rows = packed[: count * b * h].reshape(count, b, h)
        rows = rows[::-1] if reverse else rows
        states = [(rows[s], *rows[2 * t + 1 - s :][: cell.states - 1]) for s in range(t + 1)]
        blocks = packed[count * b * h :].reshape(t, b, cell.kept * h)
        kept = [tuple(np.split(x, cell.kept, -1)) if cell.kept else () for x in blocks]
        return back(
            NUMPY, cell, d, states, kept[::-1] if reverse else kept, operands, reverse
        )  # fmt: skip

    def composed(d: Any, packed: Any, pre: Any, *operands: Any, reverse: bool) -> Any:
        states, kept = run(TENSORS, cell, pre, operands, reverse)
        return back(TENSORS, cell, d, states, kept, operands, reverse)

    def sample(t: int, b: int, h: int, lengths: bool, reverse: bool) -> Sample:
        sizes = LayerSizes(t, b, h)
        own = Arg((t + cell.states - 1, b, h)), Arg((sizes.packed(cell, True),), -1, 1)
        return Sample((*own, *_arguments(cell, t, b, h, lengths)), {"reverse": reverse}, grad=False)

    def cost(out: Spec, d: Spec, packed: Spec, *operands: Spec, **attrs: Any) -> Any:
        moved = out.size + d.size + packed.size + operands[1 + cell.states].size
        flops = 2.0 * operands[0].size * d.shape[-1]
        return flops, float(moved * d.dtype.itemsize)

    return register(
        Op(
            f"{cell.name}_backward",
            "The cotangents of a recurrent layer: of its gates at all steps and its first states.",
            spec,
            reference,
            (
                sample(3, 5, 33, True, False),
                sample(2, 9, 7, False, True),
                sample(1, 2, 1, True, True),
            ),
            composed=composed,
            kernel=kernel,
            cost=cost,
            sizes=Sizes(lambda t, b, h: sample(t, b, h, False, False), LAYERS),
        )
    )


def _results(cell: Cell, backward: Op) -> Op:
    """Return the view of packed states that is a layer's result, and carries its gradient.

    Its operands are the packed states and what they were computed from.
    """

    def joint(
        d: Any, y: Any, packed: Any, pre: Any, *operands: Any, reverse: bool, start: int, shape: Any
    ) -> tuple[Any, ...]:
        t, b, h = sizes = _sizes(cell, pre)
        wide, rows = cell.gates * h, (t * b, h)
        grads = backward(d, packed, pre, *operands, reverse=reverse)
        dpre = _part(grads, 0, pre.shape)
        du = _part(grads, pre.node.spec.size * cell.apart, (t * b, wide))
        at = grads.shape[0] - cell.states * b * h
        first = [_part(grads, at + i * b * h, (b, h)) for i in range(cell.states)]
        if modes.grad:  # the states before each step, such that gradients flow to them
            h_all = narrow(y, 0, cell.states - 1 if reverse else 0, t)
            h_first = reshape(operands[0], shape=(1, b, h))
            kept = narrow(h_all, 0, int(reverse), t - 1)
            before = reshape(cat([kept, h_first] if reverse else [h_first, kept]), shape=rows)
        else:
            before = _part(packed, (sizes.rows(cell) - t) * b * h if reverse else 0, rows)
        dweight = matmul(permute(du, dims=(1, 0)), before)
        return (None, dpre, *first, dweight, du.sum(0), *[None] * (len(operands) - least))

    least = cell.states + 2
    return Op(
        cell.name,
        "The results of a recurrent layer as a view of its packed states.",
        lambda packed, *operands, reverse, start, shape: Spec(shape, packed.dtype),
        lambda packed, *operands, reverse, start, shape: packed[start:][: prod(shape)].reshape(
            shape
        ),
        joint=joint,
        view=lambda layout, reverse, start, shape: (row_major(shape), start),
    )


def _part(flat: Any, start: int, shape: tuple[int, ...]) -> Any:
    """Return a part of a vector as a view of that shape."""
    part = slice_(flat, starts=(start,), steps=(1,), sizes=(prod(shape),))
    return reshape(part, shape=shape)


_OPS: dict[str, tuple[Cell, Op, Op]] = {
    cell.name: (cell, _states(cell), _results(cell, _backward(cell))) for cell in CELLS
}


# --- for layers ----------------------------------------------------------------------------------
def whole_sequence(name: str, pre: Tensor) -> bool:
    """Whether a device computes a layer of cells better as one op than step by step.

    GPUs with large work-groups do, and CPUs if the batch is shared out among most of their cores,
    or weights are small. A tuning table's "recurrent_layer" may say `whole`, 0 or 1.
    """
    cell = _OPS[name][0]
    target = core.runtime.target(pre.device)
    _, b, h = _sizes(cell, pre)
    busy = 2 * ceil_div(b, LEAST_ROWS) >= target.compute_units or cell.gates * h * h <= _SMALL
    best = busy if target.type == "cpu" else by_tiles(target)
    return bool(target.tuning.get("recurrent_layer", {}).get("whole", best))


def layer(
    name: str,
    pre: Tensor,
    first: tuple[Tensor, ...],
    weight: Tensor,
    bias: Tensor,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """Return h at all times, [t, b, h], the last states, each [b, h], and what they are parts of.

    name: rnn_tanh, rnn_relu, lstm or gru; pre: [t, b, gates * h], the input's part of the gates;
    first: the first states; weight: [gates * h, h]; bias: [gates * h], of the state's part;
    lengths: int32 [b], where states stop (in reverse: begin). Errors: ShapeError, DTypeError.

    >>> import clnet as cn
    >>> first = cn.zeros(2, 3), cn.ones(2, 3)
    >>> h, (last, c), _ = layer("lstm", cn.zeros(5, 2, 12), first, cn.ones(12, 3), cn.ones(12))
    >>> h.shape, last.shape
    ((5, 2, 3), (2, 3))
    """
    cell, states, results = _OPS[name]
    operands = (pre, *first, weight, bias, *([] if lengths is None else [lengths]))
    keep = modes.grad and any(x.requires_grad for x in operands)
    packed = states(*operands, reverse=reverse, keep=keep)
    t, b, h = sizes = _sizes(cell, pre)
    shape = (t + cell.states - 1, b, h)
    start = sizes.first(cell, reverse) * b * h
    y = results(packed, *operands, reverse=reverse, start=start, shape=shape)
    if cell.states == 1:
        return y, (y[0 if reverse else t - 1],), packed
    if reverse:
        return y[1:], (y[1], y[0]), packed
    return y[:t], (y[t - 1], y[t]), packed
