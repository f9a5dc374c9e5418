"""The source of a columns kernel: what it computes for an element, and how it folds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clnet.dtypes import DType
from clnet.engine.columns import ColumnGroup
from clnet.engine.fuse import Step, indices, op_expr, step_code
from clnet.engine.graph import Graph
from clnet.engine.rows import FOLD, FULL
from clnet.records import Layout, collapse


@dataclass(frozen=True)
class ColumnsSource:
    """A columns kernel: its macros, and its arguments after columns, across, length and total.

    Results come first (pointer and offset), then `operands` (pointer, offset, and the strides
    listed), then `sizes` (INDEX), then `scalars` (positions).
    """

    defines: tuple[tuple[str, str], ...]
    index: str
    operands: tuple[tuple[int, tuple[int, ...]], ...]
    sizes: tuple[int, ...]
    scalars: tuple[int, ...]


def columns_source(
    graph: Graph,
    group: ColumnGroup,
    uniform: Sequence[int | None],
    layouts: Mapping[int, Layout],
    folded: Mapping[int, DType],
    local: int,
) -> ColumnsSource:
    """Write the macros of a group's kernel.

    `layouts` are those of operands in buffers; `folded` the dtypes in which folds are written.
    """
    members = group.members
    inside = set(members)
    external = list(dict.fromkeys(i for m in members for i in graph.inputs[m] if i not in inside))
    buffers = [i for i in external if uniform[i] is None]
    scalars = [i for i in external if uniform[i] is not None]
    names = {i: f"v{k}" for k, i in enumerate([*external, *members])}
    dtypes = {i: graph.nodes[i].spec.dtype for i in names}

    a, b = len(group.outer), len(group.outer) + len(group.inner)
    strides = [layouts[i].strides for i in buffers]
    rows, outer = collapse(group.outer, *(s[:a] for s in strides))
    reduced, inner = collapse(group.inner, *(s[a:b] for s in strides))
    along = [(collapse(group.kept, s[b:])[1][0] or (0,))[0] for s in strides]
    count = group.rows * group.n * group.columns
    reach = [sum(abs(t) * n for t, n in zip(s, group.shape, strict=True)) for s in strides]
    index = "int" if max([count, *reach]) < 2**31 - 2**20 else "long"

    params, bases = [], indices("row", len(rows))
    body = [*indices("r", len(reduced), ("j", "m", "g")), f"const long at = {_AT};"]
    for output in group.outputs:
        name, dtype = names[output], folded.get(output, dtypes[output]).name
        params.append(f", __global STORAGE({dtype}) *restrict q_{name}, const long w_{name}")
    operands = []
    for k, i in enumerate(buffers):
        dtype, name = dtypes[i].name, names[i]
        params.append(f", __global const STORAGE({dtype}) *restrict p_{name}, const long o_{name}")
        taken = [*outer[k], *inner[k]]
        row = "".join(f" + i{d} * (long)t_{name}{d}" for d in range(len(rows)))
        element = "".join(f" + j{d} * (long)t_{name}{len(rows) + d}" for d in range(len(reduced)))
        step = {0: "", 1: " + left"}.get(along[k])
        column = {0: "", 1: " + l"}.get(along[k])
        if step is None:
            step, column = (f" + {c} * (long)t_{name}{len(taken)}" for c in ("left", "l"))
            taken.append(along[k])
        params += [f", const INDEX t_{name}{d}" for d in range(len(taken))]
        operands.append((i, tuple(taken)))
        bases.append(f"const long b_{name} = o_{name}{row}{step};")
        body.append(f"const long e_{name} = b_{name}{element};")
        body.append(f"const ARITH({dtype}) {name} = LOAD({dtype}, p_{name}, e_{name}{column});")
    params += [f", const INDEX n{d}" for d in range(len(rows))]
    params += [f", const INDEX m{d}" for d in range(len(reduced))]
    for i in scalars:
        dtype, name = dtypes[i].name, names[i]
        params.append(f", const ARITH({dtype}) s_{name}")
        bases.append(f"const ARITH({dtype}) {name} = ROUND({dtype}, s_{name});")

    for m in members:
        if group.kinds[m] != FULL:
            continue
        op, reads = graph.nodes[m].op, [(names[i], dtypes[i]) for i in graph.inputs[m]]
        assert op is not None and op.expr is not None
        expr = op_expr(op.expr, reads[-1][1])
        body.append(step_code(Step(names[m], dtypes[m], expr, tuple(reads))))
        if m in group.outputs:
            name = names[m]
            body.append(f"STORE({dtypes[m].name}, q_{name}, w_{name} + at + l, {name});")
    folds = [m for m in members if group.kinds[m] == FOLD]
    return ColumnsSource(
        (
            ("LOCAL", str(local)),
            ("INDEX", index),
            ("OWN_MATH", str(int(local == 1))),
            ("GIVEN", "".join(params)),
            ("BASES", " ".join(bases)),
            *_folding(graph, folds, names, folded, body),
        ),
        index,
        tuple(operands),
        (*rows, *reduced),
        tuple(scalars),
    )


# Where the results of FULL values begin for a row and an element r of the fold.
_AT = "((long)row * total + r) * columns + left"


def _folding(
    graph: Graph,
    folds: Sequence[int],
    names: Mapping[int, str],
    folded: Mapping[int, DType],
    body: list[str],
) -> list[tuple[str, str]]:
    """Return the macros that fold the values that `body` computes."""
    texts: dict[str, list[str]] = {
        key: []
        for key in (
            "DECLARE", "START", "CLEAR", "TERMS", "JOIN_ONE", "JOIN_EIGHT", "CARRY", "RESULT"
        )
    }  # fmt: skip
    for m in folds:
        op = graph.nodes[m].op
        assert op is not None
        (operand,) = graph.inputs[m]
        f, y, name = op.fold, graph.nodes[m].spec.dtype.name, names[m]
        x = graph.nodes[operand].spec.dtype.name
        total, lost, block, term = (f"{part}_{name}" for part in ("total", "lost", "block", "term"))
        texts["DECLARE"].append(
            f"ARITH({y}) {total}[COLUMNS_MAX], {lost}[COLUMNS_MAX], {block}[COLUMNS_MAX];"
        )
        texts["START"].append(f"{total}[l] = fold_{f}_FROM({y}); {lost}[l] = 0;")
        texts["CLEAR"].append(f"{block}[l] = fold_{f}_FROM({y});")
        texts["TERMS"].append(f"ARITH({y}) {term}[8];")
        body.append(f"{term}[j] = fold_{f}_OF({y}, {x}, {names[operand]});")
        joined = f"{block}[l] = (ARITH({y}))fold_{f}_JOIN({block}[l], {term}[0]);"
        texts["JOIN_ONE"].append(joined)
        texts["JOIN_EIGHT"].append(f"COLUMNS_EIGHT({f}, {y}, {term}) {joined}")
        texts["CARRY"].append(f"FOLD_ADD({f}, {y}, {total}[l], {lost}[l], {block}[l])")
        value = f"FOLD_TOTAL({f}, {y}, {total}[l], {lost}[l])"
        texts["RESULT"].append(
            f"STORE({folded[m].name}, q_{name}, w_{name} + to + l, {value}); (void){lost}[l];"
        )
    macros = [(key, " ".join(lines)) for key, lines in texts.items()]
    return [*macros, ("BODY(j)", " ".join(body))]
