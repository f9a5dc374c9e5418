"""A plan made ready for one device, and its launches, which can be held back for a moment."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Sequence
from typing import Any, NamedTuple

from clnet.core import Node
from clnet.device import Device, KernelSource, profiling
from clnet.engine.plan import Plan
from clnet.engine.serial import is_single, serial_launches, shifted
from clnet.errors import BuildError

# Runs of a program after which launches of one work-item each are built as one kernel: that takes
# PoCL 0.5 to 2 s for a small training step, but 0.1 s where an earlier process built it, and saves
# 100 us a run. Programs that are captured to be replayed do so at once.
SERIAL_AFTER, SERIAL_AFTER_SEEN, SERIAL_AFTER_CAPTURE = 500, 50, 2

# Launches as they are enqueued: argument values; (argument, slot) of buffers, (argument, slot,
# delta) of offsets, (argument, node) of numbers; kernel, global size, local size. Serial launches
# have no values, but functions that choose them from those by slot and by node.
Launches = Sequence[tuple[Any, ...]]


class Bound(NamedTuple):
    """What the launches of one run work on.

    `buffers` and `offsets` by slot, `numbers` by node: the values of Python scalars.
    """

    buffers: list[Any]
    offsets: list[int]
    numbers: dict[int, Any]


class Program:
    """A plan made ready for one device: its kernels are built, their arguments declared.

    `places`: see Graph.opened.
    """

    def __init__(
        self,
        plan: Plan,
        on: Device,
        kernels: dict[KernelSource, Any],
        places: Sequence[Any] | None = None,
    ) -> None:
        self.plan = plan
        self.device = on
        sources = [
            KernelSource(t.launch.file, t.launch.entry, t.launch.defines) for t in plan.tasks
        ]
        missing = {
            source: task.arguments.types
            for source, task in zip(sources, plan.tasks, strict=True)
            if source not in kernels
        }
        for kernel, (source, types) in zip(on.kernels(list(missing)), missing.items(), strict=True):
            # Declared types make setting all arguments ten times faster than one `set_arg`.
            kernel.raw.set_scalar_arg_dtypes(types)
            kernels[source] = kernel
        self._launches = [
            (
                task.arguments.values,
                task.arguments.buffers,
                task.arguments.moved,
                task.arguments.scalars,
                kernels[source],
                task.launch.global_size,
                task.launch.local_size,
            )
            for task, source in zip(plan.tasks, sources, strict=True)
        ]
        self._place_nodes(places)
        self._allocated = list(plan.memory.buffers.items())
        self._sources = sources
        self._serial: Launches | None = None
        self._until_serial = SERIAL_AFTER

    def _place_nodes(self, places: Sequence[Any] | None) -> None:
        """Find what a run looks at among the nodes that it is given; constants are known by now."""
        plan = self.plan
        self._known = Bound([None] * plan.slots, [0] * plan.slots, {})
        self._leaves: list[tuple[int, int]] = []
        for position, slot in plan.leaves:
            place: Any = position if places is None else places[position]
            if type(place) is int:
                self._leaves.append((place, slot))
            else:
                self._known.buffers[slot] = place.buffer
                self._known.offsets[slot] = place.offset
        self._numbers: list[tuple[int, int]] = []
        numbers = sorted({p for task in plan.tasks for _, p in task.arguments.scalars})
        self.positions = numbers[-1] + 1 if numbers else 0
        for position in numbers:
            place = position if places is None else places[position]
            if type(place) is int:
                self._numbers.append((position, place))
            else:
                self._known.numbers[position] = place.value
        self._results: list[tuple[int, int, tuple[int, ...], int]] = [
            (position if places is None else places[position], slot, strides, offset)
            for position, slot, strides, offset in plan.results
        ]

    def expect_replays(self) -> None:
        """Launch together soon what can be, because this program was made to be run often."""
        self._until_serial = min(self._until_serial, SERIAL_AFTER_CAPTURE)

    @property
    def often(self) -> bool:
        """Whether it ran so often that it is worth building kernels of its own."""
        return self._until_serial <= 0

    @property
    def may_have_been_often(self) -> bool:
        """Whether it is time to look for kernels of its own that an earlier process built."""
        return self._until_serial == SERIAL_AFTER - SERIAL_AFTER_SEEN

    def run(self, nodes: Sequence[Node]) -> None:
        """Enqueue the launches on the values of `nodes`, and give the results to them."""
        with profiling.phase("enqueue"):
            bound = self.bind(nodes)
            self.launch(bound)
        self.settle(nodes, bound)

    def settle(self, nodes: Sequence[Node], bound: Bound) -> None:
        """Give the results to the nodes of a run, which let go of what they need no more."""
        on = self.device
        buffers, offsets, _ = bound
        for place, slot, strides, offset in self._results:
            node = nodes[place]
            node.buffer = buffers[slot]
            node.strides = strides
            node.offset = offsets[slot] + offset
            node.device = on
            node.group = None
            node.depth = 0
            if node.leaf or node.released or not node.needs_grad:
                node.inputs, node.call = (), None

    def results(self, nodes: Sequence[Node]) -> list[Node]:
        """Return those of the nodes that a run was given that are its results."""
        return [nodes[place] for place, _, _, _ in self._results]

    def bind(self, nodes: Sequence[Any], shared: Container[int] = ()) -> Bound:
        """Allocate all that a run on the values of `nodes` needs, before anything is enqueued.

        `shared` are the slots of leaves that others hold too: what would overwrite them works on a
        copy.
        """
        on = self.device
        known = self._known
        buffers, offsets = known.buffers.copy(), known.offsets.copy()
        for place, slot in self._leaves:
            node = nodes[place]
            buffers[slot] = node.buffer
            offsets[slot] = node.offset
        numbers = known.numbers.copy()
        for position, place in self._numbers:
            numbers[position] = nodes[place].value
        allocate = on.memory.allocate
        for slot, nbytes in self._allocated:
            buffers[slot] = allocate(nbytes)
        for slot, leaf, nbytes, itemsize in self.plan.updates:
            if leaf in shared:
                buffers[leaf] = on.copy(buffers[leaf], offsets[leaf] * itemsize, nbytes)
                offsets[leaf] = 0
            buffers[slot], offsets[slot] = buffers[leaf], offsets[leaf]
        return Bound(buffers, offsets, numbers)

    def launch(self, bound: Bound) -> None:
        """Enqueue the launches."""
        if profiling.active is not None:
            # A profile tells kernels apart.
            enqueue(self.device, self._launches, bound, self.plan.tasks)
            return
        if self._until_serial >= 0:
            if self._until_serial == 0 or self.may_have_been_often:
                self._make_serial(seen=self._until_serial > 0)
            self._until_serial -= 1
        enqueue(self.device, self._launches if self._serial is None else self._serial, bound)

    def _make_serial(self, seen: bool) -> None:
        """From now on launch neighbours of one work-item each together, where that can be built."""
        if self._serial is None:
            with contextlib.suppress(BuildError):
                self._serial = serial_launches(
                    self.device, self.plan.tasks, self._sources, self._launches, seen
                )

    def joined(self, after: Program, seen: bool) -> Launches | None:
        """Return the launches of `after` and then of this as one list, if that makes them fewer.

        This one's slots and nodes are numbered on from those of `after` in it. With `seen`: None
        unless it was built before.
        """
        first, second = after.plan.tasks, self.plan.tasks
        if not (first and second and is_single(first[-1]) and is_single(second[0])):
            return None
        tasks = [shifted(task, after.plan.slots, after.positions) for task in second]
        launches = [
            (values, own.buffers, own.moved, own.scalars, *rest)
            for (values, _, _, _, *rest), own in zip(
                self._launches, [task.arguments for task in tasks], strict=True
            )
        ]
        with contextlib.suppress(BuildError):
            return serial_launches(
                self.device,
                [*first, *tasks],
                [*after._sources, *self._sources],
                [*after._launches, *launches],
                seen,
            )
        return None


class Held:
    """A run whose results have their places, but whose launches are not enqueued yet."""

    def __init__(self, program: Program, nodes: Sequence[Node]) -> None:
        self.program = program
        bound = program.bind(nodes)
        program.settle(nodes, bound)
        self._bound: Bound | None = bound
        self._results = program.results(nodes)

    @property
    def waits(self) -> bool:
        """Whether the launches are still to be enqueued."""
        return self._bound is not None

    def leaves(self) -> set[int]:
        """Return the identities of the buffers that launches still to come read."""
        if self._bound is None:
            return set()
        return {id(self._bound.buffers[slot]) for _, slot in self.program.plan.leaves}

    def launch(self) -> None:
        """Enqueue the launches, unless that was done."""
        bound, self._bound = self._bound, None
        if bound is not None:
            try:
                with profiling.phase("enqueue"):
                    self.program.launch(bound)
            except BaseException:
                self._forget()
                raise

    def launch_joined(self, launches: Launches, then: Bound) -> None:
        """Enqueue the launches joined with those of another run; see `Program.joined`."""
        bound, self._bound = self._bound, None
        assert bound is not None
        start = self.program.positions
        numbers = bound.numbers
        for position, value in then.numbers.items():
            numbers[start + position] = value
        both = Bound(bound.buffers + then.buffers, bound.offsets + then.offsets, numbers)
        try:
            enqueue(self.program.device, launches, both)
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        """Take the places back from results that were not computed: they cannot be any more."""
        for node in self._results:
            node.buffer = None


def enqueue(
    on: Device, launches: Launches, bound: Bound, tasks: Sequence[Any] | None = None
) -> None:
    """Enqueue launches; with the tasks that they stand for, tell the active profiler of them."""
    buffers, offsets, numbers = bound
    launch = on.enqueue
    for at, (values, own, moved, scalars, kernel, global_size, local_size) in enumerate(launches):
        if values is None:
            kernel.raw.set_args(*own(buffers), *moved(offsets), *scalars(numbers))
            launch(kernel, global_size, local_size)
            continue
        for argument, slot in own:
            values[argument] = buffers[slot]
        for argument, slot, delta in moved:
            values[argument] = offsets[slot] + delta
        for argument, position in scalars:
            values[argument] = numbers[position]
        kernel.raw.set_args(*values)
        event = launch(kernel, global_size, local_size)
        if tasks is not None and profiling.active is not None:
            profiling.active.launched(event, tasks[at])
        for argument, _ in own:
            values[argument] = None
