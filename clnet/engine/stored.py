"""Elementwise chains that a product applies as it stores its result: bias, activation, residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clnet.dtypes import DType
from clnet.engine.fuse import Step, step_code
from clnet.engine.graph import OUTPUT, Graph
from clnet.engine.groups import Group
from clnet.records import Layout, collapse, row_major


@dataclass(frozen=True)
class Stored:
    """A group of elementwise nodes applied by the kernel of `product`, which it reads as `seen`."""

    group: Group
    product: int
    seen: int


def stored_groups(
    graph: Graph, groups: Sequence[Group], consumers: Sequence[Sequence[int]]
) -> tuple[dict[tuple[int, ...], Stored], dict[int, str]]:
    """Return the groups that a product stores, by members, and for other products why not."""
    found: dict[tuple[int, ...], Stored] = {}
    reasons: dict[int, str] = {}
    group_of = {m: group for group in groups for m in group.members}
    for position, node in enumerate(graph.nodes):
        if node.op is None or not node.op.stores or not graph.inputs[position]:
            continue
        seen = position
        if graph.flags[position] != OUTPUT and len(consumers[position]) == 1:
            (view,) = consumers[position]
            if _same_order(graph, view) and graph.flags[view] != OUTPUT:
                seen = view
        group = _one_group(graph, seen, consumers, group_of)
        if isinstance(group, str):
            reasons[position] = group
        elif graph.nodes[group.members[-1]].spec.dtype is not node.spec.dtype:
            reasons[position] = "what follows is of another dtype"
        else:
            # A later product of the same group takes the place of an earlier one.
            before = found.get(group.members)
            if before is not None:
                reasons[before.product] = "another product stores what follows"
            found[group.members] = Stored(group, position, seen)
    return found, reasons


def _same_order(graph: Graph, position: int) -> bool:
    """Whether a view shows a contiguous value with the same last dim and all in order."""
    node = graph.nodes[position]
    base = graph.nodes[graph.inputs[position][0]].spec
    if node.op is None or node.op.view is None or node.spec.size != base.size:
        return False
    if not node.spec.ndim or node.spec.shape[-1] != base.shape[-1]:
        return False
    viewed = node.op.view(Layout(base.shape, row_major(base.shape), base.dtype), **node.attrs)
    return viewed == (row_major(node.spec.shape), 0)


def _one_group(
    graph: Graph,
    position: int,
    consumers: Sequence[Sequence[int]],
    group_of: Mapping[int, Group],
) -> Group | str:
    """Return the one group that reads a value, of its shape and with one result, or why not."""
    if graph.flags[position] == OUTPUT:
        return "its own value is asked for"
    groups = [group_of.get(c) for c in consumers[position]]
    group = groups[0] if groups else None
    if group is None or any(g is not group for g in groups):
        return "what follows is not one chain of elementwise ops"
    if group.outputs != group.members[-1:]:
        return "what follows has several results"
    if graph.nodes[group.members[-1]].spec.shape != graph.nodes[position].spec.shape:
        return "what follows has another shape"
    return group


def by_rows(shape: Sequence[int], layout: Layout) -> tuple[int, int] | None:
    """Return the strides of an operand by row and by column of [rows, last dim], or None.

    >>> from clnet.dtypes import float32
    >>> by_rows((2, 3, 4), Layout((2, 3, 4), (0, 0, 1), float32))
    (0, 1)
    """
    _, (rows,) = collapse(shape[:-1], layout.strides[:-1])
    if len(rows) > 1:
        return None
    return (rows[0] if rows else 0), layout.strides[-1]


def stored_macros(
    seen: int,
    product_dtype: DType,
    operands: Sequence[tuple[int, DType, int | None]],
    steps: Sequence[tuple[int, DType, str, Sequence[tuple[int, DType]]]],
) -> dict[str, str]:
    """Return the macros STORED...: `operands` are (node, dtype, stride by column; None: a Python
    scalar)."""
    names: dict[int, Any] = {seen: "v"}
    params, passed, body = [], [], [f"const ARITH({product_dtype.name}) v = product;"]
    for i, dtype, step in operands:
        name = names[i] = f"v{len(names)}"
        declared = f"const ARITH({dtype.name}) {name}"
        if step is None:
            params.append(f", const ARITH({dtype.name}) s_{name}")
            passed.append(f", s_{name}")
            body.append(f"{declared} = ROUND({dtype.name}, s_{name});")
            continue
        params.append(
            f", __global const STORAGE({dtype.name}) *restrict p_{name}, const long o_{name}"
            f", const INDEX r_{name}, const INDEX c_{name}"
        )
        passed.append(f", p_{name}, o_{name}, r_{name}, c_{name}")
        # Compilers make vectors of neighbours, not of any stride.
        along = {0: "", 1: " + column"}.get(step, f" + (long)column * c_{name}")
        where = f"o_{name} + (long)row * r_{name}{along}"
        body.append(f"{declared} = LOAD({dtype.name}, p_{name}, {where});")
    for position, dtype, expr, reads in steps:
        names[position] = f"v{len(names)}"
        given = tuple((names[i], d) for i, d in reads)
        body.append(step_code(Step(names[position], dtype, expr, given)))
    last = steps[-1]
    body.append(f"const ARITH({last[1].name}) stored = {names[last[0]]};")
    return {
        "STORED": "1",
        "STORED_PARAMS": "".join(params),
        "STORED_PASSED": "".join(passed),
        "STORED_BODY": " ".join(body),
    }
