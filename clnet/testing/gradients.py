"""Gradient checks: rules against central differences, to first and second order, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from clnet import core
from clnet.core import Tensor, evaluate
from clnet.dtypes import float64
from clnet.errors import ClnetError
from clnet.modes import no_grad
from clnet.records import Op, Sample
from clnet.testing.forward import make_case
from clnet.testing.operands import host_values, laid_out
from clnet.testing.tolerance import difference
from clnet.transforms.reverse import vjp
from clnet.transforms.tree import tree_leaves

# Where the error of a central difference, step^2 and 1e-16 / step, is least; and of one of those.
STEP, SECOND_STEP = 1e-5, 1e-4


def _each(values: np.ndarray, step: float) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield each index, and the array with that element moved by `step`."""
    for index in np.ndindex(values.shape):
        moved = values.copy()
        moved[index] += step
        yield index, moved


def _slopes(
    function: Callable[..., float], values: Sequence[np.ndarray], i: int, step: float
) -> np.ndarray:
    """Return the central differences of a scalar function by each element of operand `i`."""
    slopes = np.zeros(values[i].shape)
    for index, above in _each(values[i], step):
        below = values[i].copy()
        below[index] -= step
        ahead, behind = (function(*values[:i], v, *values[i + 1 :]) for v in (above, below))
        slopes[index] = (ahead - behind) / (2 * step)
    return slopes


# --- records: the numeric side is the NumPy reference, which compiles nothing --------------------


def _sample_failures(op: Op, sample: Sample, second: bool, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    case = make_case(op, sample, [float64] * len(sample.args), "contiguous", random)
    wanted = [
        i
        for i, v in enumerate(case.values)
        if v.dtype.kind == "f" and not sample.args[i].number and op.pullback(i) is not None
    ]
    if not wanted:
        return [f"{op.name} {case.title}: has no gradient rule for a floating-point operand"]
    values = [np.array(v) for v in case.values]

    def call(*floats: Any) -> Any:
        operands: list[Any] = [
            v.item() if arg.number else laid_out(v, n.spec.dtype)
            for v, arg, n in zip(values, sample.args, case._inputs, strict=True)
        ]
        for i, x in zip(wanted, floats, strict=True):
            operands[i] = x
        return op(*operands, **sample.attrs)

    def reference(*floats: np.ndarray) -> np.ndarray:
        operands = list(values)
        for i, x in zip(wanted, floats, strict=True):
            operands[i] = x
        with np.errstate(all="ignore"):
            return np.asarray(op.reference(*operands, **sample.attrs))

    points = [values[i] for i in wanted]
    d = np.asarray(random.standard_normal(case.result.shape))
    along = [np.asarray(random.standard_normal(v.shape)) for v in points]
    tensors = [laid_out(v, float64) for v in points]
    try:
        result, pull = vjp(call, *tensors)
        if result.dtype is not float64:
            return [f"{op.name} {case.title}: result {result.dtype.name}, cannot be checked"]
        first = pull(laid_out(d, float64))
        again: tuple[Any, ...] = ()
        if second:
            # The gradient as a function of the operands and of its own cotangent.
            _, pull_again = vjp(lambda d, *x: vjp(call, *x)[1](d), laid_out(d, float64), *tensors)
            again = pull_again(tuple(laid_out(e, float64) for e in along))
        evaluate(*first, *again)
    except (AssertionError, ClnetError, AttributeError, TypeError) as error:
        return [f"{op.name} {case.title}: {type(error).__name__}: {error}"]

    def projected(*x: np.ndarray) -> float:
        return float((d * reference(*x)).sum())

    def along_slope(*x: np.ndarray) -> float:
        ahead, behind = (
            projected(*(v + t * e for v, e in zip(x, along, strict=True)))
            for t in (SECOND_STEP, -SECOND_STEP)
        )
        return (ahead - behind) / (2 * SECOND_STEP)

    found = [
        (f"gradient of operand {i + 1}", "gradient", g, _slopes(projected, points, k, STEP))
        for k, (i, g) in enumerate(zip(wanted, first, strict=True))
    ]
    if second:
        ahead, behind = (
            reference(*(v + t * e for v, e in zip(points, along, strict=True)))
            for t in (STEP, -STEP)
        )
        kind = "second gradient"
        found.append((f"{kind} by the cotangent", kind, again[0], (ahead - behind) / (2 * STEP)))
        found += [
            (f"{kind} by operand {i + 1}", kind, g, _slopes(along_slope, points, k, SECOND_STEP))
            for k, (i, g) in enumerate(zip(wanted, again[1:], strict=True))
        ]
    wrong = []
    for title, kind, got, expected in found:
        message = f"dtype {got.dtype.name}; needs float64"
        if got.dtype is float64:
            message = difference(host_values(got), expected, float64, kind) or ""
        if message:
            wrong.append(f"{op.name} {case.title}: {title}: {message}")
    return wrong


def gradient_failures(op: Op, second: bool = True, seed: int = 0) -> list[str]:
    """Return in words where a record's gradients are not the slopes of its NumPy reference.

    At the samples with `grad`, in float64: each cotangent has its operand's shape and dtype, and
    its values; and so has, with `second`, each derivative of these.
    """
    samples = [s for s in op.samples if s.grad and op.vjp is not None]
    return [wrong for s in samples for wrong in _sample_failures(op, s, second, seed)]


# --- functions of tensors ------------------------------------------------------------------------


def _check_inputs(name: str, inputs: Sequence[Tensor]) -> None:
    kinds = [x.dtype for x in inputs if isinstance(x, Tensor)]
    if len(kinds) != len(inputs) or not kinds or any(dtype is not float64 for dtype in kinds):
        given = ", ".join(str(x.node.spec) if isinstance(x, Tensor) else repr(x) for x in inputs)
        raise ClnetError(f"{name}: got {given}; needs float64 tensors, or differences are noise")


def gradcheck(
    function: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor],
    *,
    eps: float = STEP,
    rtol: float | None = None,
    atol: float | None = None,
) -> bool:
    """Compare the gradients of a function with central differences; return True.

    function: float64 tensors to one tensor or a tuple of them. Gradients are those of a random
    projection of the results; their shapes and dtypes are compared too. Errors: AssertionError that
    says which input and element is wrong; ClnetError for inputs other than float64.

    >>> import clnet as cn
    >>> gradcheck(lambda x: cn.tanh(x) * x, cn.tensor([0.5, -1.0], dtype=cn.float64))
    True
    """
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    _check_inputs("gradcheck", xs)
    random = np.random.default_rng(0)
    points = [np.array(host_values(x)) for x in xs]
    results = tree_leaves(function(*xs))
    ds = [random.standard_normal(r.shape) for r in results]

    def projection(*x: Any) -> Tensor:
        terms = [
            (y * laid_out(d, y.dtype)).sum()
            for y, d in zip(tree_leaves(function(*x)), ds, strict=True)
        ]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    value, pull = vjp(projection, *(laid_out(p, float64) for p in points))
    assert value.dtype is float64, f"gradcheck: the result is {value.dtype.name}; needs float64"
    gradients = pull(laid_out(np.ones(()), float64))
    ahead: list[list[Tensor]] = []
    with no_grad():
        for i, p in enumerate(points):
            for sign in (eps, -eps):
                rows = [
                    projection(
                        *(laid_out(q, float64) for q in (*points[:i], moved, *points[i + 1 :]))
                    )
                    for _, moved in _each(p, sign)
                ]
                ahead.append(rows)
    evaluate(*gradients, *(t for rows in ahead for t in rows))
    for i, (p, gradient) in enumerate(zip(points, gradients, strict=True)):
        above, below = ([t.item() for t in rows] for rows in ahead[2 * i : 2 * i + 2])
        slopes = ((np.array(above) - np.array(below)) / (2 * eps)).reshape(p.shape)
        _compare(f"input {i + 1}", gradient, slopes, rtol, atol)
    return True


def _compare(
    title: str, got: Tensor, expected: np.ndarray, rtol: float | None, atol: float | None
) -> None:
    assert got.dtype is float64, f"gradcheck: {title}: dtype {got.dtype.name}; needs float64"
    wrong = difference(host_values(got), expected, float64, "gradient")
    if wrong is not None and (rtol is not None or atol is not None):
        close = np.allclose(host_values(got), expected, rtol or 0.0, atol or 0.0)
        wrong = None if close and got.shape == expected.shape else wrong
    assert wrong is None, f"gradcheck: {title}: {wrong}"


def gradgradcheck(
    function: Callable[..., Any], inputs: Tensor | Sequence[Tensor], *, eps: float = STEP
) -> bool:
    """Compare the second derivatives of a function with central differences of its gradients.

    As `gradcheck`, of the gradients as a function of the inputs and of the results' cotangents.

    >>> import clnet as cn
    >>> gradgradcheck(lambda x: x * x * x, cn.tensor([0.5, -1.0], dtype=cn.float64))
    True
    """
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    _check_inputs("gradgradcheck", xs)
    random = np.random.default_rng(1)
    results = tree_leaves(function(*xs))
    ds = [laid_out(random.standard_normal(r.shape), r.dtype) for r in results]

    def gradients(*operands: Tensor) -> tuple[Any, ...]:
        out, pull = vjp(function, *operands[: len(xs)])
        given = operands[len(xs) :]
        return pull(given[0] if isinstance(out, Tensor) else given)

    return gradcheck(gradients, [*xs, *ds], eps=eps)


def has_float64() -> bool:
    """Return whether the default device has float64, which gradient checks need."""
    return bool(core.runtime.default_device().caps.fp64)
