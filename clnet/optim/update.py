"""The update of an optimizer's step: recorded once in clnet ops, then replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clnet import core
from clnet.core import Node, Tensor, placeholder, scalar_node
from clnet.modes import Recorder
from clnet.ops.index import put_rows, take_
from clnet.ops.sparse import SparseTensor, from_parts, parts_of, rows_of


@dataclass(slots=True)
class Due:
    """A parameter in a step: its group, which step it is, its gradient and its state."""

    group: dict[str, Any]
    stage: int
    p: Tensor
    g: Tensor
    state: dict[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        """The parameter, its gradient, or the parts of a sparse one, and its state's tensors."""
        found = [self.p, *parts_of(self.g)]
        for value in self.state.values():
            if isinstance(value, Tensor):
                found.append(value)
        return found


class Rule(Protocol):
    """What an update needs of its optimizer; see Optimizer."""

    def _structure(self, group: Any) -> Any: ...
    def _stage(self, group: Any, p: Tensor) -> int: ...
    def _numbers(self, group: Any, stage: int) -> tuple[float, ...]: ...
    def _update(self, group: Any, numbers: Any, p: Tensor, g: Tensor, state: Any) -> None: ...


def kinds(dues: Sequence[Due]) -> tuple[int, ...]:
    """Return a number for each parameter, equal where the update's Python numbers are the same."""
    seen: dict[Any, int] = {}
    found = []
    for due in dues:
        kind = (id(due.group), due.stage, due.p._node.spec.dtype)
        if kind not in seen:
            seen[kind] = len(seen)
        found.append(seen[kind])
    return tuple(found)


class Update:
    """The ops that bring parameters and states to their next values.

    Python numbers (learning rates, corrections) are scalar nodes that parameters of one kind share;
    `refresh` gives them the values of another step.
    """

    def __init__(self, rule: Rule, dues: Sequence[Due]) -> None:
        self._rule = rule
        self._kinds = kinds(dues)
        self._firsts: list[int] = []
        self._nodes: list[Node] = []
        self._given: list[tuple[Tensor, ...]] = []
        for i, (kind, due) in enumerate(zip(self._kinds, dues, strict=True)):
            if kind == len(self._firsts):
                self._firsts.append(i)
                values = rule._numbers(due.group, due.stage)
                nodes = [scalar_node(v, due.p.dtype) for v in values]
                self._nodes += nodes
                self._given.append(tuple([Tensor(n, view=False) for n in nodes]))

    def _numbers(self, dues: Sequence[Due]) -> list[float]:
        return [v for i in self._firsts for v in self._rule._numbers(dues[i].group, dues[i].stage)]

    def _apply(self, dues: Sequence[Due]) -> None:
        for kind, due in zip(self._kinds, dues, strict=True):
            if isinstance(due.g, SparseTensor):
                self._apply_to_rows(due, due.g, self._given[kind])
            else:
                self._rule._update(due.group, self._given[kind], due.p, due.g, due.state)

    def _apply_to_rows(self, due: Due, g: SparseTensor, numbers: Sequence[Tensor]) -> None:
        """Update the rows that a sparse gradient has, as if they were the whole parameter."""
        index, values = g.coalesced()
        tables = {"": due.p} | {k: v for k, v in due.state.items() if isinstance(v, Tensor)}
        rows = {k: take_(table, index, dim=0) for k, table in tables.items()}
        before = {k: t.node for k, t in rows.items()}
        self._rule._update(due.group, numbers, rows[""], values, {**due.state, **rows})
        for k, table in tables.items():
            if rows[k].node is not before[k]:
                table.assign(put_rows(table, index, rows[k]))

    def compile(self, on: Any, dues: Sequence[Due]) -> None:
        """Record the update and make a program of it."""
        sources: dict[Node, int] = {}
        stands: list[Due] = []
        for due in dues:
            shown = [placeholder(t) for t in due.tensors]
            for t in shown:
                sources[t.node] = len(sources)
            rest = iter(shown)
            p, g = next(rest), from_parts(rows_of(due.g), rest)
            named = [k for k, v in due.state.items() if isinstance(v, Tensor)]
            stands.append(Due(due.group, due.stage, p, g, dict(zip(named, rest, strict=True))))
        before = [t.node for due in stands for t in due.tensors]
        self._apply(stands)
        results: list[Node] = []
        updates: dict[int, int] = {}
        for number, t in enumerate(t for due in stands for t in due.tensors):
            if t.node is not before[number]:
                updates[len(results)] = number
                results.append(t.node)
        self._program = core.runtime.capture(on, results, sources, updates)

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether the program serves these tensors."""
        return bool(self._program.fits(tensors))

    def run(self, dues: Sequence[Due], tensors: Sequence[Tensor], held: Any) -> None:
        """Enqueue the update of evaluated tensors, those of `dues` in order.

        `held`: launches that come before, or None.
        """
        for node, value in zip(self._nodes, self._numbers(dues), strict=True):
            node.value = float(value)
        self._program.run(tensors, held)

    def record_into(self, recorder: Recorder, dues: Sequence[Due]) -> None:
        """Record the update as part of a larger recording, whose replays count steps as well."""

        def next_numbers() -> list[float]:
            for due in dues:
                due.stage = self._rule._stage(due.group, due.p)
            return self._numbers(dues)

        self._apply(dues)
        recorder.numbers(next_numbers, self._nodes)
        groups = {id(due.group): due.group for due in dues}
        recorder.guard(lambda: [self._rule._structure(group) for group in groups.values()])
