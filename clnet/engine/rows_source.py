"""The source of a rows kernel: loops over the row, and what each computes, folds and writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clnet.engine.fuse import Step, indices, op_expr, step_code
from clnet.engine.graph import Graph
from clnet.engine.rows import FOLD, FULL, VIEW, RowGroup, phases
from clnet.records import Layout, collapse, row_major

# A function called for an element costs more than reading its result from the cache again.
_CALL = re.compile(r"\b([A-Za-z_]\w*)\(")
_CHEAP = frozenset(("fabs", "fmax", "fmin", "rint"))


@dataclass(frozen=True)
class RowsSource:
    """A rows kernel: its macros, and its arguments after rows, n, total and each.

    Results come first (pointer and offset), then `operands` (pointer, offset, and the strides
    listed), then `sizes` (INDEX), `scalars` (positions), and scratch of `kept` values a column.
    """

    defines: tuple[tuple[str, str], ...]
    index: str
    operands: tuple[tuple[int, tuple[int, ...]], ...]
    sizes: tuple[int, ...]
    scalars: tuple[int, ...]
    kept: int


def _costly(expr: str) -> bool:
    return any(name not in _CHEAP for name in _CALL.findall(expr))


class _Writer:
    """Writes the loops of one group."""

    def __init__(
        self,
        graph: Graph,
        group: RowGroup,
        uniform: Sequence[int | None],
        layouts: Mapping[int, Layout],
        local: int,
    ) -> None:
        self.graph, self.group, self.uniform, self.local = graph, group, uniform, local
        self.members = group.members
        inside = set(self.members)
        self.external = list(
            dict.fromkeys(i for m in self.members for i in graph.inputs[m] if i not in inside)
        )
        self.buffers = [i for i in self.external if uniform[i] is None]
        self.scalars = [i for i in self.external if uniform[i] is not None]
        self.names = {i: f"v{k}" for k, i in enumerate([*self.external, *self.members])}
        for m in self.members:
            if group.kinds[m] == VIEW:
                self.names[m] = self.names[graph.inputs[m][0]]
        self.phase = phases(graph, group)
        self.last = max(
            [self.phase[m] for m in self.members if group.kinds[m] == FULL]
            + [self.phase[m] - 1 for m in self.members if group.kinds[m] == FOLD]
        )
        self.kept: dict[int, int] = {}
        self.computed: dict[int, int] = {}  # the loop in which a FULL value is computed first
        self.layouts = layouts
        self.bases: list[str] = []
        self.params: list[str] = []
        self.loads: dict[int, str] = {}
        self.operands: list[tuple[int, tuple[int, ...]]] = []
        self._operands()

    def dtype(self, position: int) -> str:
        return self.graph.nodes[position].spec.dtype.name

    # --- operands -------------------------------------------------------------------------------

    def _operands(self) -> None:
        """Declare operands; those of one value a row are loaded before the loops."""
        group, kept = self.group, len(self.group.outer)
        for output in group.outputs:
            dtype, name = self.dtype(output), self.names[output]
            self.params.append(
                f", __global STORAGE({dtype}) *restrict q_{name}, const long w_{name}"
            )
        inner: dict[int, int] = {}
        outer: list[tuple[int, ...]] = []
        for i in self.buffers:
            layout = self.layouts[i]
            leading: tuple[int, ...]
            folded: tuple[int, ...]
            if group.rows == 1 and len(layout.shape) != kept + len(group.inner):
                leading, folded = (0,) * kept, ()
            else:
                leading, folded = layout.strides[:kept], layout.strides[kept:]
            full = layout.shape == group.outer + group.inner
            _, (merged,) = collapse(group.inner, folded) if full else ((), ((),))
            assert len(merged) < 2, "operands are made to have one stride along the row"
            inner[i] = merged[0] if merged else 0
            outer.append(leading)
        walks: list[tuple[int, ...]]
        sizes, walks = collapse(group.outer, row_major(group.outer), *outer)
        self.sizes = sizes
        rank = len(sizes)
        reach = max(
            [group.rows * group.n]
            + [
                sum(abs(s) * n for s, n in zip(walk, sizes, strict=True)) + abs(inner[i]) * group.n
                for i, walk in zip(self.buffers, walks[1:], strict=True)
            ]
        )
        self.index = "int" if reach < 2**31 - 2**20 else "long"
        self.bases += indices("row", rank)
        for i, walk in zip(self.buffers, walks[1:], strict=True):
            dtype, name = self.dtype(i), self.names[i]
            self.params.append(
                f", __global const STORAGE({dtype}) *restrict p_{name}, const long o_{name}"
            )
            strides = [*walk] + ([inner[i]] if inner[i] not in (0, 1) else [])
            self.params += [f", const INDEX t_{name}{d}" for d in range(len(strides))]
            self.operands.append((i, tuple(strides)))
            row = "".join(f" + i{d} * (long)t_{name}{d}" for d in range(rank))
            declared = f"const ARITH({dtype}) {name}"
            if not inner[i]:
                self.bases.append(f"{declared} = LOAD({dtype}, p_{name}, o_{name}{row});")
                continue
            # One long row is shared out in chunks, which lie one after another.
            self.bases.append(f"const long b_{name} = o_{name}{row or ' + at'};")
            step = "c" if inner[i] == 1 else f"c * (long)t_{name}{rank}"
            self.loads[i] = f"{declared} = LOAD({dtype}, p_{name}, b_{name} + {step});"
        self.params += [f", const INDEX n{d}" for d in range(rank)]
        for i in self.scalars:
            dtype, name = self.dtype(i), self.names[i]
            self.params.append(f", const ARITH({dtype}) s_{name}")
            self.bases.append(f"const ARITH({dtype}) {name} = ROUND({dtype}, s_{name});")

    # --- steps ----------------------------------------------------------------------------------

    def step(self, position: int) -> str:
        node = self.graph.nodes[position]
        assert node.op is not None and node.op.expr is not None
        reads = [
            (self.names[i], self.graph.nodes[i].spec.dtype) for i in self.graph.inputs[position]
        ]
        expr = op_expr(node.op.expr, reads[-1][1])
        return step_code(Step(self.names[position], node.spec.dtype, expr, tuple(reads)))

    def _expensive(self, position: int, memo: dict[int, bool]) -> bool:
        """Whether computing a FULL value again, from operands and ROW values, calls functions.

        Where groups of items share a row (GPUs) memory is what is short, and nothing is kept.
        """
        if self.local > 1:
            return False
        if position not in memo:
            node = self.graph.nodes[position]
            assert node.op is not None and node.op.expr is not None
            dtype = self.graph.nodes[self.graph.inputs[position][-1]].spec.dtype
            memo[position] = _costly(op_expr(node.op.expr, dtype)) or any(
                self._expensive(i, memo)
                for i in self.graph.inputs[position]
                if self.group.kinds.get(i) == FULL
            )
        return memo[position]

    def _body(self, loop: int, wanted: Sequence[int], memo: dict[int, bool]) -> list[str]:
        """Return the statements that compute FULL values in a loop, in order."""
        needed: set[int] = set()
        loaded: set[int] = set()
        known: list[int] = []
        stack = list(wanted)
        while stack:
            m = stack.pop()
            if m in needed:
                continue
            needed.add(m)
            if m in self.loads:
                loaded.add(m)
            elif self.group.kinds.get(m) == FULL:
                stored = m in self.group.outputs and self.phase[m] < loop
                if stored or (m in self.computed and self._expensive(m, memo)):
                    known.append(m)
                else:
                    stack += self.graph.inputs[m]
        lines = [self.loads[m] for m in sorted(loaded)]
        for m in sorted(known):
            dtype, name = self.dtype(m), self.names[m]
            if m in self.group.outputs:
                where = f"LOAD({dtype}, q_{name}, w_{name} + at + c)"
            else:
                where = f"{self._keep(m)}[c]"
            lines.append(f"const ARITH({dtype}) {name} = {where};")
        for m in self.members:
            if m in needed and m not in known and self.group.kinds[m] == FULL:
                lines.append(self.step(m))
                self.computed.setdefault(m, loop)
        return lines

    def _keep(self, position: int) -> str:
        """Return the scratch row of a value that a later loop reads."""
        return f"k{self.kept.setdefault(position, len(self.kept))}"

    def loops(self) -> list[tuple[str, str]]:
        """Return the macros of all loops, and LOOPS."""
        group, graph = self.group, self.graph
        memo: dict[int, bool] = {}
        texts: list[tuple[bool, list[str], list[int]]] = []
        for loop in range(self.last + 1):
            folds = [
                m for m in self.members if group.kinds[m] == FOLD and self.phase[m] == loop + 1
            ]
            stores = [m for m in group.outputs if group.kinds[m] == FULL and self.phase[m] == loop]
            operands = [graph.inputs[m][0] for m in folds]
            body = self._body(loop, [*operands, *stores], memo)
            for m in stores:
                name, dtype = self.names[m], self.dtype(m)
                body.append(f"STORE({dtype}, q_{name}, w_{name} + at + c, {name});")
            texts.append((bool(folds), body, folds))
        # Only now is it known which values later loops read.
        for m, slot in self.kept.items():
            body = texts[self.computed[m]][1]
            body.insert(body.index(self.step(m)) + 1, f"k{slot}[c] = {self.names[m]};")
        macros: list[tuple[str, str]] = []
        calls: list[str] = []
        parts: list[str] = []
        for loop, (folding, body, folds) in enumerate(texts):
            macros.append((f"body_{loop}", " ".join(body)))
            after = self._rows(loop + 1)
            if not folding:
                calls.append(f"PLAIN_LOOP({loop})")
                continue
            calls.append(f"FOLDING_LOOP({loop})")
            macros += self._folding(loop, folds, after, parts)
        first = self._rows(0)
        return [("LOOPS", " ".join([*first, *calls])), ("PARTS", " ".join(parts)), *macros]

    def _rows(self, phase: int) -> list[str]:
        """Return the statements of ROW values that are known from a phase on, with their stores."""
        lines = []
        for m in self.members:
            kind = self.group.kinds[m]
            if kind in (FULL, VIEW) or self.phase[m] != phase:
                continue
            if kind != FOLD:
                lines.append(self.step(m))
            if m in self.group.outputs:
                name, dtype = self.names[m], self.dtype(m)
                lines.append(f"if (item == 0) STORE({dtype}, q_{name}, w_{name} + row, {name});")
        return lines

    def _folding(
        self, loop: int, folds: Sequence[int], after: Sequence[str], parts: list[str]
    ) -> list[tuple[str, str]]:
        texts: dict[str, list[str]] = {
            k: [] for k in ("declare", "start", "join", "halve", "carry", "part", "tree", "result")
        }
        for m in folds:
            op = self.graph.nodes[m].op
            assert op is not None
            f, y, name = op.fold, self.dtype(m), self.names[m]
            operand = self.graph.inputs[m][0]
            x, value = self.dtype(operand), self.names[operand]
            lane, total, lost, part = (f"{of}_{name}" for of in ("lane", "total", "lost", "part"))
            texts["declare"].append(
                f"ARITH({y}) {lane}[ROWS_LANES], {total} = fold_{f}_FROM({y}), {lost} = 0;"
            )
            texts["start"].append(f"{lane}[l] = fold_{f}_FROM({y});")
            texts["join"].append(
                f"{{ const ARITH({y}) term_ = fold_{f}_OF({y}, {x}, {value}); "
                f"{lane}[l] = (ARITH({y}))fold_{f}_JOIN({lane}[l], term_); }}"
            )
            texts["halve"].append(
                f"{lane}[l] = (ARITH({y}))fold_{f}_JOIN({lane}[l], {lane}[l + half_]);"
            )
            texts["carry"].append(f"FOLD_ADD({f}, {y}, {total}, {lost}, {lane}[0])")
            texts["part"].append(f"{part}[item] = FOLD_TOTAL({f}, {y}, {total}, {lost});")
            texts["tree"].append(
                f"{part}[item] = (ARITH({y}))fold_{f}_JOIN({part}[item], {part}[item + half_]);"
            )
            found = f"FOLD_TOTAL({f}, {y}, {total}, {lost})" if self.local == 1 else f"{part}[0]"
            texts["result"].append(f"(void){lost}; const ARITH({y}) {name} = ROUND({y}, {found});")
            if self.local > 1:
                parts.append(f"__local ARITH({y}) {part}[LOCAL];")
        texts["result"] += after
        return [(f"{key}_{loop}", " ".join(lines)) for key, lines in texts.items()]


def rows_source(
    graph: Graph,
    group: RowGroup,
    uniform: Sequence[int | None],
    layouts: Mapping[int, Layout],
    local: int,
) -> RowsSource:
    """Write the macros of a group's kernel; `layouts` are those of operands in buffers."""
    writer = _Writer(graph, group, uniform, layouts, local)
    loops = writer.loops()
    params, bases = writer.params, writer.bases
    if writer.kept:
        params.append(", __global uchar *kept, const long kept0, const long kept_row")
        start = "kept + kept0 + (long)group * kept_row"
        for m, slot in writer.kept.items():
            dtype = writer.dtype(m)
            bases.append(
                f"__global ARITH({dtype}) *k{slot} = "
                f"(__global ARITH({dtype}) *)({start} + {slot} * (kept_row / {len(writer.kept)}));"
            )
    return RowsSource(
        (
            ("LOCAL", str(local)),
            ("INDEX", writer.index),
            ("OWN_MATH", str(int(local == 1))),
            ("GIVEN", "".join(params)),
            ("BASES", " ".join(bases)),
            *loops,
        ),
        writer.index,
        tuple(writer.operands),
        writer.sizes,
        tuple(writer.scalars),
        len(writer.kept),
    )
