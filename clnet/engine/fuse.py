"""The source of fused elementwise kernels: the macros of the elementwise skeleton for a chain."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clnet.dtypes import DType
from clnet.records import Layout, collapse, row_major

_FLOAT = re.compile(r"(?<![\w.])(\d+\.\d*(?:[eE][+-]?\d+)?)(?!\w)")
_NAME = re.compile(r"\b[xyzTD]\b")
# Elements of a result that a kernel computes before it writes them past the caches.
_STREAM = 256


@dataclass(frozen=True)
class Operand:
    """An operand of a fused kernel: a Python scalar (no layout) or a value in a buffer.

    `updates` names the result that overwrites this operand, which is then read from its place.
    """

    name: str
    dtype: DType
    layout: Layout | None
    updates: str = ""


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


def step_code(step: Step) -> str:
    """Return the OpenCL C declaration of a step's result, rounded to its dtype."""
    of = step.operands[-1][1]
    names = dict(zip("xyz", (name for name, _ in step.operands), strict=False))
    names["T"], names["D"] = f"ARITH({of.name})", of.name
    expr = _NAME.sub(lambda m: names[m.group()], step.expr)
    if of.name != "float64":
        expr = _FLOAT.sub(r"\1f", expr)
    value = f"({expr})"
    if step.dtype is not of:
        value = f"CONVERT({step.dtype.name}, {of.name}, {value})"
    return f"const ARITH({step.dtype.name}) {step.name} = ROUND({step.dtype.name}, {value});"


def _block(name: str, dtype: DType) -> str:
    return f"STORAGE({dtype.name}) k_{name}[STREAM] __attribute__((aligned(64)));"


def _flush(name: str, dtype: DType) -> str:
    to = f"q_{name} + w_{name} + first"
    return f"STREAM_OUT({to}, k_{name}, (end - first) * sizeof(STORAGE({dtype.name})))"


@dataclass(frozen=True)
class Source:
    """A fused kernel: its macros but for the arguments, and what these are.

    Arguments are, in order: chunk and pieces; for each tensor served its size and those named in
    `per_tensor` (pointers, offsets and strides); those named in `shared` (sizes walked, scalars).
    index     the OpenCL type of sizes and strides.
    sizes     the dimensions walked (none if flat).
    strides   per operand in a buffer that is not updated, the strides it takes as arguments.
    """

    macros: tuple[tuple[str, str], ...]
    per_tensor: tuple[tuple[str, str], ...]
    shared: tuple[tuple[str, str], ...]
    index: str
    flat: bool
    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    def defines(self, tensors: int = 1) -> tuple[tuple[str, str], ...]:
        """Return all macros of the kernel that serves so many tensors (more than one: flat)."""
        arguments = [*self.per_tensor, *self.shared]
        params = "".join(
            f", {kind}restrict {name}" if kind.endswith("*") else f", const {kind}{name}"
            for kind, name in arguments
        )
        passed = "".join(f", {name}" for _, name in arguments)
        owned = [("INDEX ", "size"), *self.per_tensor]
        if tensors == 1:
            select, all_owned = "", owned
        else:
            select = " ".join(f"{kind}{name} = {name}_0;" for kind, name in owned)
            for t in range(1, tensors):
                moved = " ".join(f"{name} = {name}_{t};" for _, name in owned)
                select += f" NEXT_TENSOR({moved})"
            all_owned = [(kind, f"{name}_{t}") for t in range(tensors) for kind, name in owned]
        given = "".join(f", {kind}{name}" for kind, name in [*all_owned, *self.shared])
        return (
            *self.macros,
            ("PARAMS", params),
            ("PASSED", passed),
            ("GIVEN", given),
            ("SELECT", select),
        )


def indices(of: str, rank: int, letters: Sequence[str] = ("i", "n", "r")) -> list[str]:
    """Return the statements that split a row-major position `of` into an index for each dim.

    `letters` begin the names of indices, of sizes (declared before), and of what is left to split.

    >>> print("\\n".join(indices("row", 2)))
    const INDEX r1 = row;
    const INDEX r0 = r1 / n1, i1 = r1 - r0 * n1;
    const INDEX i0 = r0;
    """
    i, n, r = letters
    if not rank:
        return []
    # One division each: from / and % of the same numbers LLVM makes a freeze, unknown to Oclgrind.
    lines = [
        f"const INDEX {r}{d - 1} = {r}{d} / {n}{d}, {i}{d} = {r}{d} - {r}{d - 1} * {n}{d};"
        for d in range(rank - 1, 0, -1)
    ]
    return [f"const INDEX {r}{rank - 1} = {of};", *lines, f"const INDEX {i}0 = {r}0;"]


def fused_source(
    shape: Sequence[int],
    operands: Sequence[Operand],
    steps: Sequence[Step],
    results: Sequence[tuple[str, DType]],
    local: int,
    stream: bool = False,
) -> Source:
    """Write the elementwise skeleton's macros for a chain of ops over `shape`.

    `results` are the names, of steps or operands, whose values are written; their arguments come
    before those of the operands. With `stream`, results that no operand lies under are written
    past the caches, if the walk is flat.
    """
    buffers = [o for o in operands if o.layout is not None and not o.updates]
    sizes, walks = collapse(
        shape, row_major(shape), *(o.layout.strides for o in buffers if o.layout)
    )
    walks = walks[1:]
    count = math.prod(shape)
    # One element is walked as any other tensor, so that one launch serves both.
    one = [count > 1 and all(s == 0 for s in walk) for walk in walks]
    dense = [walk == row_major(sizes) and not o for walk, o in zip(walks, one, strict=True)]
    flat = all(a or b for a, b in zip(one, dense, strict=True))
    extents = [sum(abs(s) * n for s, n in zip(walk, sizes, strict=True)) for walk in walks]
    index = "int" if max(count, *extents, 0) < 2**31 - 2**20 else "long"
    rank = 0 if flat else len(sizes)

    pointers, numbers, hoist, body = [], [], [], []
    bases = indices("row", max(rank - 1, 0))
    for name, dtype in results:
        pointers.append((f"__global STORAGE({dtype.name}) *", f"q_{name}"))
        pointers.append(("long ", f"w_{name}"))
    taken: list[tuple[int, ...]] = []
    for operand in operands:
        name, dtype_name = operand.name, operand.dtype.name
        declared = f"const ARITH({dtype_name}) {name}"
        if operand.layout is None:
            numbers.append((f"ARITH({dtype_name}) ", f"s_{name}"))
            hoist.append(f"{declared} = ROUND({dtype_name}, s_{name});")
            continue
        if operand.updates:
            where = f"q_{operand.updates}, w_{operand.updates}"
            body.append(f"{declared} = LOAD({dtype_name}, {where} + i);")
            continue
        at = len(taken)
        pointers.append((f"__global const STORAGE({dtype_name}) *", f"p_{name}"))
        pointers.append(("long ", f"o_{name}"))
        if one[at]:
            hoist.append(f"{declared} = LOAD({dtype_name}, p_{name}, o_{name});")
            taken.append(())
        elif dense[at]:
            body.append(f"{declared} = LOAD({dtype_name}, p_{name}, o_{name} + i);")
            taken.append(())
        else:
            walk = walks[at]
            inner = walk[-1]
            outer = "".join(f" + i{d} * (long)t_{name}{d}" for d in range(rank - 1))
            bases.append(f"const long b_{name} = o_{name}{outer};")
            step = {0: "", 1: " + c"}.get(inner, f" + c * (long)t_{name}{rank - 1}")
            body.append(f"{declared} = LOAD({dtype_name}, p_{name}, b_{name}{step});")
            strides = walk[:-1] if inner in (0, 1) else walk
            pointers += [("INDEX ", f"t_{name}{d}") for d in range(len(strides))]
            taken.append(strides)
    numbers = [("INDEX ", f"n{d}") for d in range(rank)] + numbers
    body += [step_code(step) for step in steps]
    block = _STREAM if stream and flat and not any(o.updates for o in operands) else 0
    if block:
        body += [f"STORE({d.name}, k_{name}, i - first, {name});" for name, d in results]
    else:
        body += [f"STORE({d.name}, q_{name}, w_{name} + i, {name});" for name, d in results]
    macros = (
        ("LOCAL", str(local)),
        ("INDEX", index),
        # CPU compilers make vectors of a loop over our own functions.
        ("OWN_MATH", str(int(local == 1))),
        ("FLAT", str(int(flat))),
        ("INNER", "1" if flat else f"n{rank - 1}"),
        ("HOIST", " ".join(hoist)),
        ("BASES", " ".join(bases)),
        ("BODY", " ".join(body)),
        ("STREAM", str(block)),
        ("BLOCKS", " ".join(_block(name, d) for name, d in results) if block else ""),
        ("FLUSH", " ".join(_flush(name, d) for name, d in results) if block else ""),
    )
    return Source(
        macros,
        tuple(pointers),
        tuple(numbers),
        index,
        flat,
        () if flat else sizes,
        tuple(taken),
    )
