"""What is timed: each op at sizes, on operands that its record says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clnet.dtypes import DType, as_dtype, bool_, float32, int32
from clnet.errors import ClnetError
from clnet.records import OPS, Arg, Op, Sample, Sizes
from clnet.testing.forward import accepts

# Elements of elementwise ops: in a core's cache, and beyond every cache.
ELEMENTS = ((1 << 16,), (1 << 24,))


@dataclass(frozen=True)
class Work:
    """One op on operands of a size and a dtype; `title` names it across runs."""

    op: Op
    sample: Sample
    dtype: DType
    title: str


def sizes_of(op: Op) -> Sizes | None:
    """Return how an op's operands grow; None for views, which compute nothing."""
    if op.expr is None:
        return op.sizes
    first = op.samples[0]

    def sample(n: int) -> Sample:
        args = (Arg((n,), a.low, a.high, a.dtype, a.number) for a in first.args)
        return Sample(tuple(args), first.attrs)

    return Sizes(sample, ELEMENTS)


def numbers_of(text: str) -> tuple[int, ...]:
    """Return the numbers of a size.

    >>> numbers_of("1280x512x512")
    (1280, 512, 512)
    """
    try:
        numbers = tuple(int(word) for word in text.lower().split("x"))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise ClnetError(f"size: got {text!r}; needs numbers as 1024 or 1280x512x512")
    return numbers


def works(names: Sequence[str], sizes: Sequence[str], dtypes: Sequence[str]) -> Iterator[Work]:
    """Yield the work on these ops (none: all), sizes and dtypes (none: those of the records).

    Sizes with another count of numbers than an op's, and dtypes that it does not take, are left
    out. Errors: ClnetError for an unknown op, DTypeError for an unknown dtype.
    """
    timed = {name: found for name, op in OPS.items() if (found := sizes_of(op)) is not None}
    unknown = [name for name in names if name not in timed]
    if unknown:
        raise ClnetError(f"nothing to time in {', '.join(unknown)}; choose of {', '.join(timed)}")
    for name in names or timed:
        op, growth = OPS[name], timed[name]
        wanted = [as_dtype(dtype) for dtype in dtypes]
        taken = [d for d in wanted or (float32, int32, bool_) if accepts(op, op.samples[0], d)]
        asked = [numbers_of(size) for size in sizes] or list(growth.typical)
        for numbers in asked:
            if len(numbers) in (1, len(growth.typical[0])):
                for dtype in taken if wanted else taken[:1]:
                    sample = growth.at(numbers)
                    size = "x".join(map(str, numbers))
                    yield Work(op, sample, dtype, f"{name} {size} {dtype.name}")
