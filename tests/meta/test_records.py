"""A check that has never failed is not a check: each field of a record is broken, and seen red."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet.records import OPS, Arg, Launch, Op, Sample, Spec, row_major
from clnet.testing import LAYOUTS, check_op, gradient_failures, has_float64, record_failures

NARROW = {"dtypes": (cn.float32, cn.int32), "sizes": ((5, 7),)}


def broken(record: str, **fields: Any) -> Op:
    """Return a copy of a record with fields replaced; it is in no table."""
    return dataclasses.replace(OPS[record], **fields)


def rejects(op: Op) -> None:
    """Assert that the forward check fails: by what it lists, or since the op cannot even run."""
    try:
        check_op(op, **NARROW)
    except Exception:
        return
    pytest.fail(f"check_op accepts a broken {op.name}")


@pytest.mark.parametrize("name", ["add", "exp", "where", "permute", "sum", "matmul", "take"])
def test_unbroken_copies_pass(name: str) -> None:
    op = broken(name)
    check_op(op, **NARROW)
    assert record_failures(op) == []


# --- the result -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expr"),
    [
        ("add", "x - y"),
        ("add", "x + y * 1.00001"),
        ("exp", "exp(x) * 1.00001"),
        ("maximum", "x > y ? x : y"),  # of NaN and a number
        ("floor", "trunc(x - 0.1)"),
        ("tanh", "(exp(2 * x) - 1) / (exp(2 * x) + 1)"),  # NaN at 88
        ("reciprocal", "x == 0 ? 0 : 1 / x"),
        ("eq", "x >= y"),
        ("where", "x ? z : y"),
    ],
)
def test_wrong_expr(name: str, expr: str) -> None:
    rejects(broken(name, expr=expr))


@pytest.mark.parametrize(
    ("name", "kind", "expr"),
    [
        ("add", "i", "x + y + 1"),
        ("add", "b", "x && y"),
        ("remainder", "f", "x - y * floor(x / y)"),  # at infinity
        ("floor_divide", "i", "x / y"),
    ],
)
def test_wrong_expr_of_one_kind_of_dtype(name: str, kind: str, expr: str) -> None:
    exprs = OPS[name].expr
    assert isinstance(exprs, dict)
    with pytest.raises(AssertionError, match="elements differ"):
        check_op(broken(name, expr={**exprs, kind: expr}), sizes=())


def _also(rule: Callable[..., Spec], change: Callable[[Spec], Spec]) -> Callable[..., Spec]:
    return lambda *specs, **attrs: change(rule(*specs, **attrs))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("exp", lambda s: s._replace(shape=(*s.shape, 1))),
        ("add", lambda s: s._replace(shape=s.shape[::-1])),
        ("eq", lambda s: s._replace(dtype=cn.uint8)),
        ("sum", lambda s: s._replace(shape=(1, *s.shape))),
        ("argmax", lambda s: s._replace(dtype=cn.int32)),
        ("add", lambda s: s._replace(dtype=cn.float32)),  # of integers
    ],
)
def test_wrong_shape_or_dtype_rule(name: str, change: Callable[[Spec], Spec]) -> None:
    rejects(broken(name, spec=_also(OPS[name].spec, change)))


def test_rule_that_refuses_a_floating_point_dtype() -> None:
    def spec(*operands: Spec) -> Spec:
        if operands[0].dtype is cn.float16:
            raise cn.DTypeError("add: got float16")
        return OPS["add"].spec(*operands)

    rejects(broken("add", spec=spec))


@pytest.mark.parametrize("name", ["add", "exp", "sum", "cumsum", "take", "permute", "place"])
def test_wrong_reference(name: str) -> None:
    reference = OPS[name].reference
    wrong = lambda *xs, **attrs: np.asarray(reference(*xs, **attrs)) + 1e-3  # noqa: E731
    rejects(broken(name, reference=wrong))


@pytest.mark.parametrize(
    ("name", "promote"),
    [("add", ""), ("add", "last"), ("exp", "same"), ("div", "same"), ("where", "same")],
)
def test_wrong_promote(name: str, promote: str) -> None:
    rejects(broken(name, promote=promote))


def test_wrong_broadcast() -> None:
    rejects(broken("mul", broadcast=False))


def test_no_dtype_accepted() -> None:
    def spec(*operands: Spec) -> Spec:
        raise cn.DTypeError("add: got something")

    rejects(broken("add", spec=spec))


# --- views ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("permute", lambda layout, dims: (layout.strides, 0)),
        ("reshape", lambda layout, shape: (row_major(shape), 0)),  # also of what is not contiguous
        ("slice", lambda layout, starts, steps, sizes: (layout.strides, 0)),
        ("expand", lambda layout, shape: (row_major(shape), 0)),
    ],
)
def test_wrong_view(name: str, view: Callable[..., Any]) -> None:
    rejects(broken(name, view=view))


def test_view_that_copies_without_need() -> None:
    op = broken("permute", view=lambda layout, dims: None)
    with pytest.raises(AssertionError):
        assert record_failures(op) == []


@pytest.mark.parametrize(
    ("name", "put"),
    [
        ("permute", lambda base, value, dims: cn.permute(value, dims)),
        ("reshape", lambda base, value, shape: base),
        ("slice", lambda base, value, starts, steps, sizes: base + value.sum()),
        ("alias", lambda base, value: base),
    ],
)
def test_wrong_put(name: str, put: Callable[..., Any]) -> None:
    try:
        found = record_failures(broken(name, put=put))
    except cn.ShapeError:
        return
    assert found


# --- kernels --------------------------------------------------------------------------------------


def _launched(name: str, change: Callable[[Launch], Launch | None]) -> Op:
    kernel = OPS[name].kernel
    assert kernel is not None

    def changed(*args: Any, **attrs: Any) -> list[Launch]:
        launches = [change(launch) for launch in kernel(*args, **attrs)]
        return [launch for launch in launches if launch is not None]

    return broken(name, kernel=changed)


def _define(name: str, value: str) -> Callable[[Launch], Launch]:
    def change(launch: Launch) -> Launch:
        assert name in dict(launch.defines)
        defines = tuple((k, value if k == name else v) for k, v in launch.defines)
        return dataclasses.replace(launch, defines=defines)

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sum", _define("REDUCE", "prod")),
        ("amax", _define("REDUCE", "amin")),
        ("argmax", _define("REDUCE", "amin")),
        ("argsort", _define("DESCENDING", "1")),
        ("matmul", _define("X", "int32")),
        ("take", _define("I", "int32")),  # of an index of int64
    ],
)
def test_wrong_define(name: str, change: Callable[[Launch], Launch]) -> None:
    rejects(_launched(name, change))


def test_launch_that_is_too_small() -> None:
    def half(launch: Launch) -> Launch:
        args = list(launch.args)
        at = next(i for i, a in enumerate(args) if hasattr(a, "ctype"))
        args[at] = args[at]._replace(value=max(1, args[at].value // 2))
        return dataclasses.replace(launch, args=tuple(args))

    rejects(_launched("argmax", half))


def test_wrong_strided() -> None:
    # cumsum's kernel walks contiguous values: strides that it does not take are an error.
    rejects(broken("cumsum", strided=True))


# --- what else a record says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"doc": "Add elementwise"},
        {"symbol": "sub"},
        {"symbol": "plus"},
        {"samples": ()},
        {"cost": lambda out, *ins: (float("nan"), 0.0)},
        {"cost": lambda out, *ins: (1.0, 1.0)},
        {"vjp": (None,)},
        {"name": "addition"},
    ],
)
def test_wrong_description(fields: dict[str, Any]) -> None:
    assert record_failures(broken("add", **fields))


def test_sample_on_which_gradients_have_a_kink() -> None:
    needs_float64()
    kinked = broken("relu", samples=(Sample((Arg((3,), 0.0, 0.0),)),))
    assert gradient_failures(kinked)


# --- gradients ------------------------------------------------------------------------------------


def needs_float64() -> None:
    if not has_float64():
        pytest.skip("the device has no float64, without which differences are noise")


def _scaled(name: str, operand: int, change: Callable[[Any], Any]) -> Op:
    op = OPS[name]

    def rule(index: int, *args: Any, **attrs: Any) -> Any:
        pullback = op.pullback(index)
        assert pullback is not None
        d = pullback(*args, **attrs)
        return change(d) if index == operand else d

    return broken(name, vjp=rule)


@pytest.mark.parametrize(
    ("name", "operand"),
    [("mul", 0), ("mul", 1), ("tanh", 0), ("sum", 0), ("matmul", 1), ("take", 0), ("slice", 0)],
)
def test_gradient_wrong_by_a_twentieth_of_a_percent(name: str, operand: int) -> None:
    needs_float64()
    assert gradient_failures(_scaled(name, operand, lambda d: d), second=False) == []
    assert gradient_failures(_scaled(name, operand, lambda d: d * 1.0005), second=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.sum(0),
        lambda d: d.reshape(d.shape[::-1]),
        lambda d: d[None],
        lambda d: d.to(cn.float32),
        lambda d: d.sum(0, keepdim=True),  # NumPy would broadcast it back
    ],
    ids=["reduced", "reshaped", "extended", "float32", "kept"],
)
def test_gradient_of_another_shape_or_dtype(change: Callable[[Any], Any]) -> None:
    needs_float64()
    assert gradient_failures(_scaled("mul", 0, change), second=False)


def test_second_gradient_that_is_not_recorded() -> None:
    needs_float64()
    # The first gradient is right; what flows through it is cut.
    cut = broken("tanh", vjp=(lambda d, r, x: d * (1 - r * r).detach(),))
    assert gradient_failures(cut, second=False) == []
    assert gradient_failures(cut)


def test_rule_that_is_missing() -> None:
    needs_float64()
    assert gradient_failures(broken("exp", vjp=(None,)))


# --- layouts: each one catches something ----------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_each_layout_catches_a_kernel_without_strides(layout: str) -> None:
    op = broken("cumsum", strided=True)
    with pytest.raises(AssertionError):
        check_op(op, dtypes=(cn.float32,), layouts=(layout,))


@pytest.mark.parametrize("name", [n for n, op in OPS.items() if op.kernel is not None])
def test_kernel_ops_have_sizes_to_be_timed_on(name: str) -> None:
    op = OPS[name]
    assert op.sizes is not None
    assert op.cost is not None
    for numbers in op.sizes.typical:
        assert op.sizes.at(numbers).args
    small = op.sizes.at([5])
    specs = [Spec(arg.shape, cn.dtypes.as_dtype(arg.dtype or "float32")) for arg in small.args]
    assert op.spec(*specs, **small.attrs).size
