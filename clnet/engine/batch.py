"""Elementwise launches with one kernel on several tensors, as those of an optimizer, become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from clnet.engine.task import Arguments, Task

# Bytes of arguments that every device takes (OpenCL 1.2's least CL_DEVICE_MAX_PARAMETER_SIZE).
_ARGUMENT_BYTES = 1024
# Numbers of tensors for which kernels are built; others are filled up with empty tensors.
_COUNTS = (2, 4, 6, 8, 12, 16, 24, 32)


def batched(tasks: Sequence[Task], finish: Callable[[Task], None]) -> list[Task]:
    """Return the tasks with flat launches of one kernel gathered, where no other waits for them.

    A gathered launch runs where its last part would have run, or before a task that reads what it
    writes or writes what it reads. `finish` lays out the arguments of each flat task.
    """
    result: list[Task] = []
    open_: dict[object, Task] = {}

    def close(key: object) -> None:
        task = open_.pop(key)
        finish(task)
        result.append(task)

    for task in tasks:
        conflicts = [
            key
            for key, other in open_.items()
            if task.reads & other.writes or task.writes & other.reads
        ]
        for key in conflicts:
            close(key)
        if not task.parts:
            result.append(task)
            continue
        assert task.source is not None
        key = (task.source, tuple(task.shared.values), tuple(task.shared.scalars))
        other = open_.get(key)
        if other is None:
            open_[key] = task
            continue
        if len(other.parts) + 1 > _most(task):
            close(key)
            open_[key] = task
            continue
        open_[key] = replace(
            other,
            nodes=other.nodes + task.nodes,
            reads=other.reads | task.reads,
            writes=other.writes | task.writes,
            flops=other.flops + task.flops,
            nbytes=other.nbytes + task.nbytes,
            parts=other.parts + task.parts,
        )
    for key in list(open_):
        close(key)
    return result


def _most(task: Task) -> int:
    """Return how many tensors one launch of this kernel can serve."""
    each = 8 + sum(8 for _ in task.parts[0].args.values)
    room = (_ARGUMENT_BYTES - 16 - 8 * len(task.shared.values)) // each
    return max([1, *(c for c in _COUNTS if c <= room)])


def tensors_served(task: Task) -> int:
    """Return for how many tensors this task's kernel is built: at least as many as it has parts."""
    parts = len(task.parts)
    return 1 if parts == 1 else min(c for c in _COUNTS if c >= parts)


def arguments_of(task: Task, index: object, chunk: int, pieces: int) -> Arguments:
    """Return a launch's arguments: chunk, pieces, each tensor's size and own, the shared ones."""
    arguments = Arguments()
    arguments.static(index, chunk)
    arguments.static(index, pieces)
    padding = tensors_served(task) - len(task.parts)
    for number, part in enumerate([*task.parts, *[task.parts[-1]] * padding]):
        arguments.static(index, part.size if number < len(task.parts) else 0)
        arguments.extend(part.args)
    arguments.extend(task.shared)
    return arguments
