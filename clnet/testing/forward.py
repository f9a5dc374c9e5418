"""Forward checks of a record: its result against its NumPy reference, over dtypes and layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clnet import core
from clnet.core import Tensor, evaluate
from clnet.dtypes import DTYPES, DType, as_dtype, bfloat16, bool_, float32, float64, promote
from clnet.errors import DTypeError
from clnet.records import Op, Sample
from clnet.testing.operands import (
    LAYOUTS,
    arranged,
    as_computed,
    host_values,
    laid_out,
    random_values,
)
from clnet.testing.tolerance import difference, kind_of

# Empty, 0-d, and more elements than one work-item takes on a CPU.
SIZES = ((0, 3), (), (5, 7919))


@dataclass
class Case:
    """One call of a record: what is asked for, in words, and the operands as NumPy has them."""

    op: Op
    title: str
    values: list[np.ndarray]
    result: Tensor
    attrs: dict[str, Any]

    def failure(self) -> str | None:
        """Return in words how the evaluated result differs from the reference, or None."""
        wrong = self._wrong()
        return None if wrong is None else f"{self.op.name} {self.title}: {wrong}"

    def _wrong(self) -> str | None:
        node = self.result.node
        computed = as_computed(self.values, self._inputs)
        with np.errstate(all="ignore"):
            expected = np.asarray(self.op.reference(*computed, **self.attrs))
            typed = np.asarray(self.op.reference(*self._typed(), **self.attrs))
        spec = node.spec
        if spec.shape != expected.shape:
            return f"shape {list(spec.shape)}; needs {list(expected.shape)}"
        if not _agrees(typed.dtype, spec.dtype, [n.spec.dtype for n in self._inputs]):
            return f"dtype {spec.dtype.name}; needs {typed.dtype}"
        flops = 1.0
        if self.op.cost is not None:
            flops = self.op.cost(spec, *(n.spec for n in self._inputs), **self.attrs)[0]
        return difference(
            host_values(self.result), expected, spec.dtype, kind_of(self.op, spec.dtype, flops)
        )

    def __post_init__(self) -> None:
        # The operands as the op got them: an evaluated node forgets its inputs.
        self._inputs = self.result.node.inputs

    def _typed(self) -> list[np.ndarray]:
        """Return the promoted operands in the dtypes that NumPy shares with us."""
        return [
            v.astype(np.float32 if n.spec.dtype is bfloat16 else n.spec.dtype.storage)
            for v, n in zip(self.values, self._inputs, strict=True)
        ]


def _agrees(numpy: np.dtype, ours: DType, operands: Sequence[DType]) -> bool:
    """Return whether a result's dtype is NumPy's, where the two have one rule."""
    if any(d.kind == "f" for d in operands):
        same = ours.kind == numpy.kind or (ours.kind == "i" and numpy.kind == "u")
        return same and (bfloat16 in (*operands, ours) or ours.storage == numpy)
    # NumPy rounds integers to floats, and squares bool to int8; else integers agree.
    return numpy.kind == "f" or numpy == np.int8 or ours.storage == numpy


def make_case(
    op: Op,
    sample: Sample,
    dtypes: Sequence[DType],
    layout: str,
    random: np.random.Generator,
    title: str = "",
) -> Case:
    """Record one call of `op` on random operands of a sample; nothing is computed yet."""
    values: list[np.ndarray] = []
    operands: list[Any] = []
    for arg, dtype in zip(sample.args, dtypes, strict=True):
        dtype = as_dtype(arg.dtype) if arg.dtype is not None else dtype
        drawn = arranged(np.asarray(random_values(arg, dtype, random)), layout)
        values.append(drawn)
        operands.append(drawn.item() if arg.number else laid_out(drawn, dtype, layout))
    title = title or f"{' '.join(d.name for d in dict.fromkeys(dtypes))} {layout}"
    shapes = " ".join(str(list(arg.shape)) for arg in sample.args)
    return Case(op, f"{title} {shapes}", values, op(*operands, **sample.attrs), dict(sample.attrs))


def supported_dtypes() -> list[DType]:
    """Return the dtypes that the default device computes with."""
    fp64 = core.runtime.default_device().caps.fp64
    return [d for d in DTYPES.values() if fp64 or d is not float64]


def accepts(op: Op, sample: Sample, dtype: DType) -> bool:
    """Return whether the record's rule takes a sample's operands of `dtype`: no DTypeError."""
    random = np.random.default_rng(0)
    try:
        make_case(op, sample, [dtype] * len(sample.args), "contiguous", random)
    except DTypeError:
        return False
    return True


def _varies(sample: Sample) -> bool:
    return any(arg.dtype is None for arg in sample.args)


def forward_cases(
    op: Op,
    dtypes: Sequence[DType] | None = None,
    layouts: Sequence[str] = LAYOUTS,
    seed: int = 0,
) -> Iterator[Case]:
    """Yield the calls on which a record is tested: all dtypes, and all layouts of float32.

    Further samples of elementwise ops differ in shape alone, which is float32's to test.
    """
    random = np.random.default_rng(seed)
    supported = supported_dtypes()
    for number, sample in enumerate(op.samples):
        if any(isinstance(a, DType) and a not in supported for a in sample.attrs.values()):
            continue
        accepted = [
            d
            for d in (supported if dtypes is None else dtypes)
            if _varies(sample) and accepts(op, sample, d)
        ]
        # Integers and bool have layouts tested where there is no float32 result.
        main = float32 if not accepted or float32 in accepted else accepted[-1]
        plain = accepted if op.expr is None or number == 0 else [main]
        for dtype in plain or [main]:
            yield make_case(op, sample, [dtype] * len(sample.args), LAYOUTS[0], random)
        if op.expr is None or number == 0:
            for layout in layouts:
                if layout != LAYOUTS[0] and any(arg.shape for arg in sample.args):
                    yield make_case(op, sample, [main] * len(sample.args), layout, random)


def resized_cases(op: Op, shapes: Sequence[tuple[int, ...]], seed: int = 0) -> Iterator[Case]:
    """Yield calls of an elementwise record on operands of other shapes: empty, 0-d, large."""
    random = np.random.default_rng(seed)
    sample = op.samples[0]
    dtype = next((d for d in (float32, *supported_dtypes()) if accepts(op, sample, d)), float32)
    for shape in shapes:
        args = tuple(type(a)(shape, a.low, a.high, a.dtype) for a in sample.args)
        resized = Sample(args, sample.attrs)
        yield make_case(op, resized, [dtype] * len(args), LAYOUTS[0], random)


# Zeros of both signs, infinities, NaN, the least normal number and others near the ends.
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, np.inf, -np.inf, np.nan, 2.0**-126, 3e38, -3e38, 88.0)


def special_cases(op: Op) -> Iterator[Case]:
    """Yield the call of an elementwise record on all combinations of special values, in float32."""
    sample = op.samples[0]
    if op.expr is None or not accepts(op, sample, float32):
        return
    grid = np.meshgrid(*[np.array(SPECIAL, np.float32)] * len(sample.args))
    values = [
        g.reshape(-1) > 0 if arg.dtype == "bool" else g.reshape(-1)
        for g, arg in zip(grid, sample.args, strict=True)
    ]
    operands = [laid_out(v, bool_ if v.dtype == bool else float32) for v in values]
    attrs = dict(sample.attrs)
    yield Case(op, "special values", values, op(*operands, **attrs), attrs)


def failures(cases: Sequence[Case]) -> list[str]:
    """Evaluate all cases, as one plan, and return in words which are wrong."""
    evaluate(*(case.result for case in cases))
    return [wrong for wrong in (case.failure() for case in cases) if wrong is not None]


def refusals(op: Op) -> list[str]:
    """Return in words where a record refuses operands that it has to take.

    Every record takes float32 or int32 or bool. One whose reference turns integers into floats
    takes integers and bool, and every dtype that its operands' mixture with float32 gives.
    """
    wrong = []
    sample = op.samples[0]
    if not _varies(sample):
        return []
    taken = [d for d in supported_dtypes() if accepts(op, sample, d)]
    if not taken:
        return [f"{op.name}: takes no dtype at all"]
    floats = [d for d in supported_dtypes() if d.kind == "f"]
    missing = [d for d in floats if d not in taken]
    if missing and len(missing) < len(floats):
        wrong.append(f"{op.name}: takes some floating-point dtypes, but not {missing}")
    if op.promote and DTYPES["int32"] not in taken and len(missing) < len(floats):
        random = np.random.default_rng(0)
        values = [random_values(arg, DTYPES["int32"], random) for arg in sample.args]
        with np.errstate(all="ignore"):
            result = np.asarray(op.reference(*values, **sample.attrs))
        if result.dtype.kind == "f":
            wrong.append(f"{op.name}: refuses int32, of which its reference makes {result.dtype}")
    return wrong


def mixed_cases(op: Op, seed: int = 0) -> Iterator[tuple[Case, DType]]:
    """Yield calls on operands of two dtypes, each with the dtype that they must be brought to.

    Every elementwise record has to promote its operands, and others that say so.
    """
    sample = op.samples[0]
    free = [i for i, arg in enumerate(sample.args) if arg.dtype is None]
    if len(free) < 2 or not (op.promote or op.expr is not None):
        return
    random = np.random.default_rng(seed)
    pairs = (("int32", "float32"), ("float16", "int64"), ("uint8", "int32"), ("bool", "float32"))
    for names in (*pairs, ("float16", "bfloat16")):
        for first, second in (names, names[::-1]):
            dtypes = [as_dtype(second)] * len(sample.args)
            dtypes[free[0]] = as_dtype(first)
            common = promote(as_dtype(first), as_dtype(second))
            if op.promote == "float" and common.kind != "f":
                common = float32
            if accepts(op, sample, common):
                yield make_case(op, sample, dtypes, LAYOUTS[0], random), common


def promotion_failures(op: Op) -> list[str]:
    """Return in words where operands of two dtypes are not brought to their common one."""
    wrong = []
    try:
        for case, common in mixed_cases(op):
            inputs = zip(case.result.node.inputs, op.samples[0].args, strict=True)
            used = {n.spec.dtype for n, arg in inputs if arg.dtype is None}
            if used != {common}:
                wrong.append(f"{op.name} {case.title}: computes with {used}; needs {common}")
    except DTypeError as error:
        return [f"{op.name}: refuses operands of two dtypes: {error}"]
    return wrong


def check_op(
    op: Op | Callable[..., Any],
    dtypes: Sequence[DType] | None = None,
    layouts: Sequence[str] = LAYOUTS,
    sizes: Sequence[tuple[int, ...]] = SIZES,
) -> None:
    """Compare a record with its NumPy reference over dtypes and layouts, at its samples.

    dtypes: those to try (default: all that the device has); layouts: of `LAYOUTS`. Elementwise
    records are tried on other sizes and on special values too. All calls are evaluated as one plan.
    Errors: AssertionError that lists what is wrong.

    >>> from clnet.records import OPS
    >>> check_op(OPS["add"], layouts=("contiguous",), sizes=())
    """
    assert isinstance(op, Op), f"check_op: got {op!r}; needs an op record"
    wrong = refusals(op)
    if not wrong:
        cases = list(forward_cases(op, dtypes, layouts))
        if op.expr is not None:
            cases += [*resized_cases(op, sizes), *special_cases(op)]
        wrong = promotion_failures(op) + failures(cases)
    assert not wrong, "\n".join(wrong)
