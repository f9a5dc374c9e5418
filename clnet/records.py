"""What is known about an op, as data: one record each, and the table of all of them.

A record says what an op computes (shape rule, NumPy reference, gradient), how a device computes it
(an expression, a view, or kernel launches) and on what it is tested. Functions and methods, fusion,
docs, tests and benchmarks are all derived from it; nothing else in clnet lists ops.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, NamedTuple, Protocol

from clnet.dtypes import DType


class Spec(NamedTuple):
    """Shape and dtype of a value; prints as `float32[2, 3]`."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides, in elements, of a contiguous array.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    strides: list[int] = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


class Layout(NamedTuple):
    """How a value lies in its buffer: shape, strides in elements (0, negative allowed), dtype."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType

    @property
    def contiguous(self) -> bool:
        """True if the elements lie in row-major order without gaps."""
        step = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != step:
                return False
            step *= n
        return True


def collapse(
    shape: Sequence[int], *strides: Sequence[int]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Merge neighbouring dimensions which all the strides walk as one; drop those of size 1.

    >>> collapse((2, 3, 4), (12, 4, 1), (0, 4, 1))
    ((2, 12), [(12, 1), (0, 1)])
    """
    sizes: list[int] = []
    merged: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        if sizes and all(m[-1] == s[axis] * n for m, s in zip(merged, strides, strict=True)):
            sizes[-1] *= n
            for m, s in zip(merged, strides, strict=True):
                m[-1] = s[axis]
        else:
            sizes.append(n)
            for m, s in zip(merged, strides, strict=True):
                m.append(s[axis])
    return tuple(sizes), [tuple(m) for m in merged]


# --- kernel launches as data -------------------------------------------------------------------


class In(NamedTuple):
    """Kernel argument pair: the buffer of operand `operand`, then its element offset (long)."""

    operand: int


class Out(NamedTuple):
    """Kernel argument pair: the output's buffer, then its element offset (long).

    `offset` elements are added to it: for launches which fill a part of the output.
    """

    offset: int = 0


class Scratch(NamedTuple):
    """Kernel argument pair: `nbytes` of memory that the op's launches share, and the offset (long).

    The offset is in elements of `itemsize` bytes.
    """

    name: str
    nbytes: int
    itemsize: int


class Prepared(NamedTuple):
    """Kernel argument pair: memory that a launch of its own fills from operand `operand` alone.

    Ops of a plan that need the same operand prepared the same way share it: `launch` reads that
    operand, as In(operand), and writes Scratch("prepared", nbytes, itemsize).
    """

    operand: int
    nbytes: int
    itemsize: int
    launch: Launch


class Scalar(NamedTuple):
    """Kernel argument: a number known from shapes and attributes, as OpenCL type `ctype`."""

    ctype: str
    value: int | float


class Value(NamedTuple):
    """Kernel argument: the value of operand `operand`, a Python scalar, as OpenCL type `ctype`."""

    operand: int
    ctype: str


Argument = In | Out | Scratch | Prepared | Scalar | Value


@dataclass(frozen=True)
class Launch:
    """One kernel launch: which kernel, built with which macros, over which range, on what."""

    file: str
    entry: str
    defines: tuple[tuple[str, str], ...]
    args: tuple[Argument, ...]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...]


# Macros of a kernel that stores its result as it is; see `Op.stores`.
NOTHING_STORED = (
    ("STORED", "0"),
    ("STORED_PARAMS", ""),
    ("STORED_PASSED", ""),
    ("STORED_BODY", ""),
)


class Target(Protocol):
    """What a record may know about the device that it writes launches for."""

    @property
    def type(self) -> str:
        """'gpu', 'cpu' or 'accelerator'."""

    @property
    def local_memory(self) -> int:
        """Bytes of local memory of a work-group."""

    @property
    def max_work_group(self) -> int:
        """Work-items that a work-group may have."""

    @property
    def compute_units(self) -> int:
        """Number of compute units."""

    @property
    def tuning(self) -> Mapping[str, Mapping[str, int]]:
        """Parameters by kernel name, from tuning tables; see `clnet.tunables`."""


# --- samples -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arg:
    """A random test operand: shape, value range, and a dtype where it must not vary.

    `number` makes it a Python number instead of a tensor.
    """

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    dtype: str | None = None
    number: bool = False


@dataclass(frozen=True)
class Sample:
    """Operands and attributes on which a record is tested.

    `grad` tells whether the gradient is checked at these operands (off at kinks).
    """

    args: tuple[Arg, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    grad: bool = True


@dataclass(frozen=True)
class Sizes:
    """How the operands of a record grow, for benchmarks and tuning.

    `sample` makes operands of sizes given as numbers, of which `typical` are representative ones.
    """

    sample: Callable[..., Sample]
    typical: tuple[tuple[int, ...], ...]

    def at(self, numbers: Sequence[int]) -> Sample:
        """Return the operands of a size; one number stands for all."""
        count = len(self.typical[0])
        return self.sample(*(tuple(numbers) * count if len(numbers) == 1 else numbers))


# --- the record --------------------------------------------------------------------------------

SpecRule = Callable[..., Spec]
VJP = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Op:
    """Everything known about one op.

    name        one string for the op, its kernel, its test and its docs row.
    doc         one sentence.
    spec        (*operand specs, **attrs) -> Spec of the result; raises ShapeError, DTypeError.
    reference   (*arrays, **attrs) -> the result by NumPy, the oracle of its tests.
    samples     operands to test it on.
    vjp         a function per operand (None: not differentiable), or one function of the operand's
                index: (d, y, *operands, **attrs) -> cotangent of that operand, in clnet ops.
    joint       instead of vjp: (d, y, *operands, **attrs) -> the cotangents of all operands, a
                tuple (None: not differentiable).
    composed    instead of vjp: (*operands, **attrs) -> the result, computed by ops that have
                gradients; they flow through these.
    promote     how operands are brought to one dtype: 'same' (the common dtype), 'float' (the
                common dtype, integers become float32), 'last' (all but the first), '' (untouched).
    broadcast   operands are expanded to one shape first.
    expr        elementwise ops: the OpenCL C expression of x, y, z (by kind of dtype where it
                differs); `T` stands for the arithmetic type, `D` for the dtype's name, MATH(f, D)
                for a function of kernels/include/math.h. This is what lets an op fuse.
    view        movement ops that copy nothing: (layout, **attrs) -> (strides, offset), or None
                where this layout needs a copy first.
    put         view ops: (base, value, **attrs) -> base with value written through the view.
    fold        reductions (kernel ops with an attribute `dims`): the fold's name in
                kernels/include/fold.h, which is what lets them fuse.
    stores      kernel ops with one result [.., m, n] whose kernel takes the macros STORED..., so
                that a chain of elementwise ops is applied as the result is stored.
    kernel      other ops: (target, out, ins, **attrs) -> launches.
    counts      kernel ops whose kernel is also given `uses`: for each operand, how many such ops of
                the plan read the same values.
    strided     kernel ops: operands whose strides the kernel takes as they are (True: all of them);
                the others are made contiguous first.
    overwrites  kernel ops whose first launch copies the first operand to the result; it is left out
                where the result may take that operand's place, and does not count in `cost`.
    plain       kernel ops with fast variants: `kernel` with the plain version alone, their oracle.
    sizes       kernel ops: operands of representative sizes.
    cost        (out, *specs, **attrs) -> (flops, bytes).
    symbol      the Python operator, as the dunder's stem ('add').
    method      also a method of Tensor.
    """

    name: str
    doc: str
    spec: SpecRule
    reference: Callable[..., Any]
    samples: tuple[Sample, ...] = ()
    vjp: tuple[VJP | None, ...] | VJP | None = None
    joint: Callable[..., tuple[Any, ...]] | None = None
    composed: Callable[..., Any] | None = None
    promote: str = ""
    broadcast: bool = False
    expr: str | Mapping[str, str] | None = None
    view: Callable[..., tuple[tuple[int, ...], int] | None] | None = None
    put: Callable[..., Any] | None = None
    kernel: Callable[..., list[Launch]] | None = None
    counts: bool = False
    fold: str = ""
    stores: bool = False
    strided: tuple[int, ...] | bool = ()
    overwrites: bool = False
    plain: Callable[..., list[Launch]] | None = None
    sizes: Sizes | None = None
    cost: Callable[..., tuple[float, float]] | None = None
    symbol: str = ""
    method: bool = False

    def __post_init__(self) -> None:
        ways = [self.expr is not None, self.view is not None, self.kernel is not None]
        assert sum(ways) == 1, f"{self.name}: needs exactly one of expr, view and kernel"
        object.__setattr__(self, "__doc__", self.doc)
        object.__setattr__(self, "__name__", self.name)

    @property
    def differentiable(self) -> bool:
        """Whether a gradient can flow to an operand."""
        return any(rule is not None for rule in (self.vjp, self.joint, self.composed))

    def pullback(self, index: int) -> VJP | None:
        """Return the gradient rule of one operand, or None where there is no gradient."""
        if isinstance(self.vjp, tuple):
            return self.vjp[index]
        return None if self.vjp is None else functools.partial(self.vjp, index)

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """Record the op on the graph; see `clnet.core.bind`."""
        return type(self).bind(self, operands, attrs)

    # Set by clnet.core, which lies above the records.
    bind: ClassVar[Callable[[Op, Sequence[Any], dict[str, Any]], Any]]

    def __repr__(self) -> str:
        return f"<op {self.name}: {self.doc}>"


OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Enter a record into the table of ops, and return it."""
    assert op.name not in OPS, f"op {op.name} is registered twice"
    OPS[op.name] = op
    return op
