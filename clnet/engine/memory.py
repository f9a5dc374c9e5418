"""Where the values of a plan lie: lifetimes, and the space that short-lived ones share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clnet.engine.task import Task

_ALIGNMENT = 64  # bytes: what a kernel's widest vector may assume
_FOREVER = 1 << 62


@dataclass
class _Region:
    """Free bytes [start, end) of a buffer, to be given back before task `until` runs."""

    buffer: int
    start: int
    end: int
    until: int


@dataclass(frozen=True)
class Memory:
    """The buffers of a plan.

    buffers   bytes by slot of each buffer that a run allocates: values that outlive the plan have
              one each; the others lie in arenas, which have slots of their own.
    inside    for each value without a buffer of its own: the slot of the buffer that holds it,
              and the byte where it begins.
    live      bytes that exist at once, at most, however they are laid out.
    """

    buffers: Mapping[int, int]
    inside: Mapping[int, tuple[int, int]]
    live: int

    @property
    def allocated(self) -> int:
        """Bytes of all buffers."""
        return sum(self.buffers.values())


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _find(free: list[_Region], size: int, last: int) -> _Region | None:
    """Return the tightest free region for `size` bytes until after task `last`.

    Regions of results come before those of arenas, which they keep small.
    """
    fitting = [r for r in free if r.end - r.start >= size and r.until > last]
    return min(fitting, key=lambda r: (r.until == _FOREVER, r.end - r.start), default=None)


def _give_back(free: list[_Region], region: _Region) -> None:
    """Add a region to the free ones, joined to its neighbours."""
    for other in [r for r in free if r.buffer == region.buffer]:
        if other.end == region.start:
            region.start = other.start
            free.remove(other)
        elif other.start == region.end:
            region.end = other.end
            free.remove(other)
    free.append(region)


def lay_out(
    tasks: Sequence[Task],
    nbytes: Mapping[int, int],
    kept: Iterable[int],
    next_slot: int,
    largest: int,
) -> Memory:
    """Lay out the values that the tasks write, of `nbytes` by slot.

    `kept` outlive the plan, and get a buffer each; until they are written, short-lived values lie
    in them too, and else in arenas of at most `largest` bytes, whose slots begin at `next_slot`.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, task in enumerate(tasks):
        for slot in task.writes | task.reads:
            if slot in nbytes:
                first.setdefault(slot, number)
                last[slot] = number
    results = {slot for slot in kept if slot in nbytes}
    buffers = {slot: nbytes[slot] for slot in sorted(results)}
    free = [_Region(s, 0, _aligned(nbytes[s]), first[s]) for s in sorted(results) if s in first]
    free = [r for r in free if r.end >= 4096]  # not worth a look below
    inside: dict[int, tuple[int, int]] = {}
    arenas: dict[int, int] = {}
    taken: dict[int, _Region] = {}
    begins: list[list[int]] = [[] for _ in tasks]
    ends: list[list[int]] = [[] for _ in tasks]
    for slot in first:
        if slot not in results:
            begins[first[slot]].append(slot)
            ends[last[slot]].append(slot)
    live = peak = sum(nbytes[s] for s in results if s not in first)
    arrives: list[int] = [0] * len(tasks)
    for slot in results:
        if slot in first:
            arrives[first[slot]] += nbytes[slot]
    for number in range(len(tasks)):
        live += arrives[number]
        for slot in sorted(begins[number], key=lambda s: -nbytes[s]):
            live += nbytes[slot]
            size = _aligned(nbytes[slot])
            region = _find(free, size, last[slot])
            if region is None:
                region = _grown(free, arenas, size, next_slot, largest)
            taken[slot] = _Region(region.buffer, region.start, region.start + size, region.until)
            inside[slot] = (region.buffer, region.start)
            region.start += size
            if region.start == region.end:
                free.remove(region)
        peak = max(peak, live)
        for slot in ends[number]:
            live -= nbytes[slot]
            _give_back(free, taken.pop(slot))
    # A region of a result that is about to be written is found no more: `until` has passed.
    return Memory({**buffers, **arenas}, inside, peak)


def _grown(
    free: list[_Region], arenas: dict[int, int], size: int, next_slot: int, largest: int
) -> _Region:
    """Return a free region of at least `size` bytes at the end of an arena, or in a new one."""
    for arena, total in arenas.items():
        tail = next((r for r in free if r.buffer == arena and r.end == total), None)
        grown = (tail.start if tail is not None else total) + size
        if grown <= largest:
            arenas[arena] = grown
            if tail is None:
                tail = _Region(arena, total, total, _FOREVER)
                free.append(tail)
            tail.end = grown
            return tail
    arena = next_slot + len(arenas)
    arenas[arena] = size
    region = _Region(arena, 0, size, _FOREVER)
    free.append(region)
    return region
