"""Which elementwise ops become one kernel, and that kernel's source in the elementwise skeleton."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clnet.dtypes import DType
from clnet.engine.graph import OUTPUT, Graph
from clnet.records import Layout, Spec, collapse, row_major

# Limits that keep a fused kernel within every device's registers and 1 KB of arguments.
MAX_OPS = 32
MAX_OPERANDS = 12

_FLOAT = re.compile(r"(?<![\w.])(\d+\.\d*(?:[eE][+-]?\d+)?)(?!\w)")
_NAME = re.compile(r"\b[xyzT]\b")


def elementwise_groups(graph: Graph, uniform: Sequence[int | None]) -> dict[int, list[int]]:
    """Return the fused groups: the position of each root, and its members in order, root last.

    A node joins its consumers' group if all of them are in the same one, so that nothing is
    computed twice; a node whose value is asked for is always a root.
    """
    consumers: list[list[int]] = [[] for _ in graph.nodes]
    for position, inputs in enumerate(graph.inputs):
        for i in set(inputs):
            consumers[i].append(position)
    root_of: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    operands: dict[int, set[int]] = {}
    for position in range(len(graph.nodes) - 1, -1, -1):
        op = graph.nodes[position].op
        if op is None or op.expr is None or not graph.inputs[position]:
            continue
        reads = set(graph.inputs[position])
        roots = {root_of.get(c, -1) for c in consumers[position]}
        root = roots.pop() if len(roots) == 1 else -1
        if root >= 0 and graph.flags[position] != OUTPUT and len(members[root]) < MAX_OPS:
            joined = (operands[root] - {position}) | reads
            if len(joined) <= MAX_OPERANDS:
                root_of[position] = root
                members[root].append(position)
                operands[root] = joined
                continue
        root_of[position] = position
        members[position] = [position]
        operands[position] = reads
    return {root: group[::-1] for root, group in sorted(members.items())}


@dataclass(frozen=True)
class Operand:
    """An operand of a fused kernel: a Python scalar (no layout) or a value in a buffer."""

    name: str
    dtype: DType
    layout: Layout | None


@dataclass(frozen=True)
class Step:
    """One op of a fused kernel: the result's name and dtype, its expression and operand names."""

    name: str
    dtype: DType
    expr: str
    operands: tuple[tuple[str, DType], ...]


def op_expr(expr: str | Mapping[str, str], dtype: DType) -> str:
    """Return the expression that a record gives for operands of `dtype`."""
    if isinstance(expr, str):
        return expr
    return expr.get(dtype.kind) or expr["i"]


def _code(step: Step) -> str:
    of = step.operands[-1][1]
    names = dict(zip("xyz", (name for name, _ in step.operands), strict=False))
    names["T"] = f"ARITH({of.name})"
    expr = _NAME.sub(lambda m: names[m.group()], step.expr)
    if of.name != "float64":
        expr = _FLOAT.sub(r"\1f", expr)
    value = f"({expr})"
    if step.dtype is not of:
        value = f"CONVERT({step.dtype.name}, {of.name}, {value})"
    return f"const ARITH({step.dtype.name}) {step.name} = ROUND({step.dtype.name}, {value});"


@dataclass(frozen=True)
class Source:
    """A fused kernel: its macros, and which strides and sizes follow each operand as arguments.

    `sizes` are the dimensions walked (none if flat); `strides` holds, per operand in a buffer, the
    strides it takes as arguments.
    """

    defines: tuple[tuple[str, str], ...]
    index: str
    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]


def fused_source(
    out: Spec, operands: Sequence[Operand], steps: Sequence[Step], local: int
) -> Source:
    """Write the elementwise skeleton's macros for a chain of ops."""
    buffers = [o for o in operands if o.layout is not None]
    sizes, walks = collapse(
        out.shape, row_major(out.shape), *(o.layout.strides for o in buffers if o.layout)
    )
    walks = walks[1:]
    one = [all(s == 0 for s in walk) for walk in walks]
    dense = [walk == row_major(sizes) and not o for walk, o in zip(walks, one, strict=True)]
    flat = all(a or b for a, b in zip(one, dense, strict=True))
    extents = [sum(abs(s) * n for s, n in zip(walk, sizes, strict=True)) for walk in walks]
    index = "int" if max(out.size, *extents, 0) < 2**31 - 2**20 else "long"
    rank = 0 if flat else len(sizes)

    params, hoist, bases, body = [], [], [], []
    # One division each: from / and % of the same numbers LLVM makes a freeze, unknown to Oclgrind.
    rows = [
        f"const INDEX r{d - 1} = r{d} / n{d}, i{d} = r{d} - r{d - 1} * n{d};"
        for d in range(rank - 2, 0, -1)
    ]
    if rank > 1:
        rows = [f"const INDEX r{rank - 2} = row;", *rows, "const INDEX i0 = r0;"]
    bases += rows
    taken: list[tuple[int, ...]] = []
    at = 0
    for operand in operands:
        name, dtype = operand.name, operand.dtype.name
        declared = f"const ARITH({dtype}) {name}"
        if operand.layout is None:
            params.append(f", const ARITH({dtype}) s_{name}")
            hoist.append(f"{declared} = ROUND({dtype}, s_{name});")
            continue
        walk, is_one, is_dense = walks[at], one[at], dense[at]
        at += 1
        params.append(f", __global const STORAGE({dtype}) *restrict p_{name}, const long o_{name}")
        if is_one:
            hoist.append(f"{declared} = LOAD({dtype}, p_{name}, o_{name});")
            taken.append(())
        elif is_dense:
            body.append(f"{declared} = LOAD({dtype}, p_{name}, o_{name} + i);")
            taken.append(())
        else:
            inner = walk[-1]
            outer = "".join(f" + i{d} * (long)t_{name}{d}" for d in range(rank - 1))
            bases.append(f"const long b_{name} = o_{name}{outer};")
            step = {0: "", 1: " + c"}.get(inner, f" + c * (long)t_{name}{rank - 1}")
            body.append(f"{declared} = LOAD({dtype}, p_{name}, b_{name}{step});")
            strides = walk[:-1] if inner in (0, 1) else walk
            params.append("".join(f", const INDEX t_{name}{d}" for d in range(len(strides))))
            taken.append(strides)
    params.append("".join(f", const INDEX n{d}" for d in range(rank)))
    body += [_code(step) for step in steps]
    defines = (
        ("LOCAL", str(local)),
        ("INDEX", index),
        ("OUT", out.dtype.name),
        ("FLAT", str(int(flat))),
        ("INNER", "1" if flat else f"n{rank - 1}"),
        ("PARAMS", "".join(params)),
        ("HOIST", " ".join(hoist)),
        ("BASES", " ".join(bases)),
        ("BODY", " ".join(body)),
        ("RESULT", steps[-1].name if steps else operands[0].name),
    )
    return Source(defines, index, () if flat else sizes, tuple(taken))
