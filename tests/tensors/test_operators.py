"""Python's operators, methods with options, and the in-place twins."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet.records import OPS

F = np.array([[-2.5, -1.0, 0.5], [1.0, 2.0, 7.0]], np.float32)
I = np.array([[-7, -2, 1], [3, 4, 9]])  # noqa: E741


def test_arithmetic(same) -> None:
    x, i = cn.tensor(F), cn.tensor(I)
    positive, p = cn.tensor(abs(F)), abs(F)
    same(
        {
            "x + 1": (x + 1, F + 1),
            "1 + x": (1 + x, 1 + F),
            "x - i": (x - i, (F - I).astype(np.float32)),
            "2 - x": (2 - x, 2 - F),
            "i * 2": (i * 2, I * 2),
            "i * 1.5": (i * 1.5, (I * 1.5).astype(np.float32)),
            "x / 2": (x / 2, F / 2),
            "1 / x": (1 / x, 1 / F),
            "i / 2": (i / 2, (I / 2).astype(np.float32)),
            "i // 2": (i // 2, I // 2),
            "x // 2": (x // 2, F // 2),
            "7 // i": (7 // i, 7 // I),
            "i % 3": (i % 3, I % 3),
            "i % -3": (i % -3, I % -3),
            "7 % i": (7 % i, 7 % I),
            "x % 2": (x % 2, F % 2),
            "-x": (-x, -F),
            "+x": (+x, F),
            "abs": (abs(i), abs(I)),
            "float scalar": (x + np.float64(0.5), F + np.float32(0.5)),
            "NumPy number first": (np.float32(2) * x, 2 * F),
            "0-d int tensor": (x + cn.tensor(1), F + 1),
            "0-d float tensor": (i + cn.tensor(0.5), (I + 0.5).astype(np.float32)),
            "bool + int": (cn.tensor([True, False]) + 1, np.array([2, 1])),
            "broadcast": (x[:, :1] + i[0], (F[:, :1] + I[0]).astype(np.float32)),
            "@": (x @ x.T, F @ F.T),
            "i ** 2": (i**2, I**2),
            "x ** 3": (x**3, F**3),
            "i ** 3": (i**3, I**3),
            "x ** -1": (x**-1, F**-1),
            "x ** -2": (x**-2, F**-2),
            "p ** 0.5": (positive**0.5, p**0.5),
            "p ** -0.5": (positive**-0.5, p**-0.5),
            "2 ** x": (2**x, 2**F),
            "p ** p": (positive**positive, p**p),
        }
    )


def test_comparison_and_logic(same) -> None:
    x, i = cn.tensor(F), cn.tensor(I)
    cases: dict[str, Any] = {}
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        compare = getattr(operator, name)
        cases[name] = (compare(x, 1), compare(F, 1))
        cases[f"{name} flipped"] = (compare(0.5, x), compare(0.5, F))
        cases[f"{name} tensors"] = (compare(x, i), compare(F, I))
    for name in ("and_", "or_", "xor"):
        bit = getattr(operator, name)
        cases[name] = (bit(i, 5), bit(I, 5))
        cases[f"{name} flipped"] = (bit(5, i), bit(5, I))
        cases[f"{name} bool"] = (bit(x > 0, i > 0), bit(F > 0, I > 0))
    cases["invert"] = (~i, ~I)
    cases["invert bool"] = (~(x > 0), ~(F > 0))
    same(cases)
    assert 7 in x and 8 not in x


def test_foreign_types() -> None:
    x = cn.ones(2)
    assert (x == None) is False and (x != "a") is True and (x == [1, 1]) is False  # noqa: E711
    for call in (lambda: x + "a", lambda: None * x, lambda: x < "a", lambda: x @ 2):
        with pytest.raises(TypeError, match=r"not supported|unsupported operand"):
            call()
    for other in (np.ones(2), [1, 2]):
        for call in (lambda: x + other, lambda: other - x, lambda: x * other):  # noqa: B023
            with pytest.raises(cn.DTypeError, match=r"make one with cn.tensor"):
                call()
    with pytest.raises(cn.DTypeError, match=r"make one with cn.tensor"):
        x == np.ones(2)  # noqa: B015
    with pytest.raises(cn.DTypeError, match=r"make one with cn.tensor"):
        x += [1, 2]


def test_options(same) -> None:
    x, i = cn.tensor(F), cn.tensor(I)
    special = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    s = cn.tensor(special)
    mask = F > 0
    half = np.float16([0.5, 1.5])
    largest = np.finfo(np.float16).max
    same(
        {
            "add alpha": (cn.add(x, i, alpha=2), (F + 2 * I).astype(np.float32)),
            "sub alpha": (x.sub(1, alpha=0.5), F - np.float32(0.5)),
            "rsub": (cn.rsub(x, 1, alpha=2), 1 - 2 * F),
            "div floor": (cn.div(i, 2, rounding_mode="floor"), I // 2),
            "div trunc": (cn.div(i, 2, rounding_mode="trunc"), np.trunc(I / 2).astype(int)),
            "div trunc -": (cn.div(i, -4, rounding_mode="trunc"), np.trunc(I / -4).astype(int)),
            "div trunc float": (x.div(0.75, rounding_mode="trunc"), np.trunc(F / 0.75)),
            "fmod": (x.fmod(2), np.fmod(F, 2)),
            "fmod int": (i.fmod(4), np.fmod(I, 4)),
            "clamp": (x.clamp(-1, 1), F.clip(-1, 1)),
            "clamp min": (x.clamp(min=0), F.clip(0, None)),
            "clamp max": (i.clip(max=3), I.clip(None, 3)),
            "clamp crossed": (x.clamp(1, -1), np.full_like(F, -1)),
            "clamp tensors": (x.clamp(x[:, :1], x[:, 1:2]), F.clip(F[:, :1], F[:, 1:2])),
            "clamp nan": (s.clamp(-1, 1), special.clip(-1, 1)),
            "masked_fill": (x.masked_fill(cn.tensor(mask), 9), np.where(mask, 9, F)),
            "lerp": (x.lerp(x * 2, 0.25), 1.25 * F),
            "addcmul": (x.addcmul(x, x, value=2), F + 2 * F * F),
            "addcdiv": (x.addcdiv(x, 2, value=4), 3 * F),
            "nan_to_num": (s.nan_to_num(), np.nan_to_num(special)),
            "nan_to_num to": (s.nan_to_num(1, 2, 3), np.float32([1, 2, 3, 1])),
            "nan_to_num half": (
                cn.tensor(np.float16([np.inf, -np.inf])).nan_to_num(),
                np.float16([largest, -largest]),
            ),
            "logaddexp": (x.logaddexp(x * 2), np.logaddexp(F, 2 * F)),
            "logaddexp inf": (s[1:].logaddexp(s[1:]), np.logaddexp(special[1:], special[1:])),
            "where": (x.where(x > 0, 0), np.where(mask, F, 0)),
            "where half": (
                cn.where(cn.tensor([True, False]), cn.tensor(half), 0),
                np.float16([0.5, 0]),
            ),
            "isclose": (s.isclose(s), np.isclose(special, special)),
            "isclose nan": (s.isclose(s, equal_nan=True), np.ones(4, bool)),
            "isclose far": (x.isclose(x + 1e-3), np.isclose(F, F + 1e-3)),
        }
    )
    assert x.allclose(x + 1e-9) and not x.allclose(x + 1) and i.allclose(i)
    assert x.equal(x.clone()) and not x.equal(x + 1) and not x.equal(x[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.clamp(), ValueError, "neither min nor max"),
        (lambda x: cn.div(x, 2, rounding_mode="up"), ValueError, "rounding_mode is 'up'"),
        (lambda x: x.long().masked_fill(x > 0, 0.5), cn.DTypeError, "does not fit"),
        (lambda x: x.masked_fill(x, 0), cn.DTypeError, "condition is float32"),
        (lambda x: x.masked_fill(x > 0, x), cn.ShapeError, "needs a number"),
        (lambda x: x + cn.ones(2), cn.ShapeError, "add: cannot broadcast"),
        (lambda x: x & 1, cn.DTypeError, "bitwise_and: got float32"),
        (lambda x: x[0].add_(x), cn.ShapeError, r"add_: the result float32\[3\]"),
        (lambda x: x.long().add_(0.5), cn.DTypeError, "cannot be cast to int64 in place"),
        (lambda x: x.fill_(x), cn.ShapeError, "fill_: value is float32"),
        (lambda x: x.copy_("a"), cn.DTypeError, "copy_: src is a str"),
        (lambda x: x.copy_(cn.ones(2)), cn.ShapeError, "expand: cannot expand"),
    ],
)
def test_what_is_refused(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(cn.ones(3) if "the result" not in message else cn.ones(3, 1).expand(3, 3)[:, 0])


def test_every_elementwise_method_has_an_in_place_twin() -> None:
    """The twin gives the tensor the op's result, cast to its dtype, and returns it."""
    seen = 0
    for op in OPS.values():
        if op.expr is None or not op.method:
            continue
        dtype = cn.int32 if op.name.startswith("bitwise") else cn.float32
        operands = [cn.ones(2, dtype=dtype) for _ in op.samples[0].args]
        x, node = operands[0], operands[0].node
        assert getattr(x, f"{op.name}_")(*operands[1:]) is x
        # Not evaluated: each would compile a kernel, and the ops are tested on their own.
        result = x.node.inputs[0]
        if result.op is OPS["cast"]:
            result = result.inputs[0]
        assert result.op is op, op.name
        assert result.inputs[0] is node, op.name
        assert x.dtype is dtype, op.name
        seen += 1
    assert seen > 50


def test_in_place(same) -> None:
    x, i, half = cn.tensor(F), cn.tensor(I), cn.tensor(np.float16([1, 2]))
    before = x
    x += 1
    x *= x
    i //= 2
    i -= cn.tensor(True)
    half += cn.tensor([0.5, 0.25])
    x.add_(i, alpha=2).clamp_(-3, 30).masked_fill_(x > 20, 20)
    assert x is before
    wanted_i = I // 2 - 1
    wanted = ((F + 1) ** 2 + 2 * wanted_i).astype(np.float32).clip(-3, 30)
    flags = cn.tensor([True, False])
    flags &= True
    same(
        {
            "x": (x, np.where(wanted > 20, 20, wanted)),
            "i": (i, wanted_i),
            "half": (half, np.float16([1.5, 2.25])),
            "flags": (flags, np.array([True, False])),
            "zero_": (cn.ones(2).zero_(), np.zeros(2, np.float32)),
            "fill_": (cn.ones(2, dtype=cn.int64).fill_(3.7), np.array([3, 3])),
            "fill_ tensor": (cn.ones(2).fill_(cn.tensor(2)), np.float32([2, 2])),
            "copy_": (cn.ones(2, 2).copy_(cn.arange(2)), np.float32([[0, 1], [0, 1]])),
            "copy_ cast": (
                cn.ones(2, dtype=cn.int32).copy_(cn.tensor([1.5, -2.5])),
                np.int32([1, -2]),
            ),
            "neg_": (cn.arange(3).neg_(), -np.arange(3)),
            "exp_": (cn.zeros(2).exp_(), np.ones(2, np.float32)),
        }
    )


def test_in_place_and_gradients() -> None:
    x = cn.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(cn.GradientError, match="leaf"):
        x += 1
    y = x * 2
    square = y * y
    y.mul_(3)
    (square.sum() + y.sum()).backward()
    # The square saw y before it changed: 8 x; and y is 6 x.
    assert x.grad.tolist() == [14, 22]
    with cn.no_grad():
        x -= 0.5 * x.grad
    assert x.tolist() == [-6, -9] and x.is_leaf and x.requires_grad
    z = cn.tensor([1.0, 1.0], requires_grad=True)
    # At the limit itself, clamp passes the gradient on.
    z.clamp(max=1).sum().backward()
    assert z.grad.tolist() == [1, 1]


def test_a_scalar_is_no_part_of_the_plan() -> None:
    """Another learning rate makes no other plan."""
    from clnet.engine.run import engine

    x = cn.ones(3)
    for rate in (0.1, 0.2, 0.3):
        misses = engine.misses
        (x - rate * x + rate).numpy()
    assert engine.misses == misses
