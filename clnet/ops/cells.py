"""Recurrent cells as formulas, and a layer of them step by step: the oracle of the kernels.

Written once for NumPy's arrays, where it is the reference of the records, and for tensors, where it
is what second derivatives flow through. Axis letters: t time, b batch, h hidden features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from clnet.ops import elementwise
from clnet.ops.join import cat

Values = tuple[Any, ...]


class Arrays(NamedTuple):
    """What NumPy and clnet name differently, or have not."""

    tanh: Callable[[Any], Any]
    logistic: Callable[[Any], Any]
    where: Callable[[Any, Any, Any], Any]
    cat: Callable[..., Any]


NUMPY = Arrays(np.tanh, lambda x: 1 / (1 + np.exp(-x)), np.where, np.concatenate)
TENSORS = Arrays(elementwise.tanh, elementwise.sigmoid, elementwise.where, cat)


class Cell(NamedTuple):
    """A cell; numbers count blocks of h features.

    gates   blocks that input and state contribute to.
    kept    blocks that a step keeps for its derivative.
    states  1: h; 2: h and c.
    apart   whether the cotangents of the two parts differ.
    step    (arrays, p, u, states) -> (states, kept); p is the input's part of the gates, u the
            state's.
    back    (arrays, kept, states before, states after, their cotangents) -> (dp, du, cotangents of
            the states before, but for what flows through u).
    """

    name: str
    gates: int
    kept: int
    states: int
    apart: bool
    step: Callable[[Arrays, Any, Any, Values], tuple[Values, Values]]
    back: Callable[[Arrays, Values, Values, Values, Values], tuple[Values, Values, Values]]


def _blocks(x: Any, count: int) -> list[Any]:
    h = x.shape[-1] // count
    return [x[..., i * h : (i + 1) * h] for i in range(count)]


def _tanh_back(
    xp: Arrays, kept: Values, before: Values, after: Values, d: Values
) -> tuple[Values, Values, Values]:
    dp = d[0] * (1 - after[0] * after[0])
    return (dp,), (dp,), (0.0,)


def _relu_back(
    xp: Arrays, kept: Values, before: Values, after: Values, d: Values
) -> tuple[Values, Values, Values]:
    dp = xp.where(after[0] > 0, d[0], 0.0)
    return (dp,), (dp,), (0.0,)


def _lstm_step(xp: Arrays, p: Any, u: Any, states: Values) -> tuple[Values, Values]:
    i, f, g, o = _blocks(p + u, 4)
    kept = i, f, g, o = xp.logistic(i), xp.logistic(f), xp.tanh(g), xp.logistic(o)
    c = f * states[1] + i * g
    return (o * xp.tanh(c), c), kept


def _lstm_back(
    xp: Arrays, kept: Values, before: Values, after: Values, d: Values
) -> tuple[Values, Values, Values]:
    i, f, g, o = kept
    t = xp.tanh(after[1])
    dc = d[1] + d[0] * o * (1 - t * t)
    dp = (
        dc * g * i * (1 - i),
        dc * before[1] * f * (1 - f),
        dc * i * (1 - g * g),
        d[0] * t * o * (1 - o),
    )
    return dp, dp, (0.0, dc * f)


def _gru_step(xp: Arrays, p: Any, u: Any, states: Values) -> tuple[Values, Values]:
    (p_r, p_z, p_n), (u_r, u_z, u_n) = _blocks(p, 3), _blocks(u, 3)
    r, z = xp.logistic(p_r + u_r), xp.logistic(p_z + u_z)
    n = xp.tanh(p_n + r * u_n)
    return ((1 - z) * n + z * states[0],), (r, z, n, u_n)


def _gru_back(
    xp: Arrays, kept: Values, before: Values, after: Values, d: Values
) -> tuple[Values, Values, Values]:
    r, z, n, u_n = kept
    dn = d[0] * (1 - z) * (1 - n * n)
    dr, dz = dn * u_n * r * (1 - r), d[0] * (before[0] - n) * z * (1 - z)
    return (dr, dz, dn), (dr, dz, dn * r), (d[0] * z,)


def _relu_step(xp: Arrays, p: Any, u: Any, states: Values) -> tuple[Values, Values]:
    v = p + u
    return (xp.where(v < 0, 0.0, v),), ()


CELLS = (
    Cell(
        "rnn_tanh", 1, 0, 1, False,
        lambda xp, p, u, states: ((xp.tanh(p + u),), ()), _tanh_back,
    ),
    Cell("rnn_relu", 1, 0, 1, False, _relu_step, _relu_back),
    Cell("lstm", 4, 4, 2, False, _lstm_step, _lstm_back),
    Cell("gru", 3, 4, 1, True, _gru_step, _gru_back),
)  # fmt: skip


class Given(NamedTuple):
    """The operands of a layer after the input's part of the gates; lengths may be None."""

    first: Values
    weight: Any
    bias: Any
    lengths: Any


def given(cell: Cell, operands: Sequence[Any]) -> Given:
    """Return the operands by name."""
    n = cell.states
    lengths = operands[n + 2] if len(operands) > n + 2 else None
    return Given(tuple(operands[:n]), operands[n], operands[n + 1], lengths)


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def run(
    xp: Arrays, cell: Cell, pre: Any, operands: Sequence[Any], reverse: bool
) -> tuple[list[Values], list[Values]]:
    """Return the states after 0, 1, .. steps, and what each step kept, by step."""
    first, weight, bias, lengths = given(cell, operands)
    states, kept = [first], []
    for t in _order(pre.shape[0], reverse):
        u = states[-1][0] @ weight.T + bias
        after, values = cell.step(xp, pre[t], u, states[-1])
        if lengths is not None:
            on = (lengths > t)[:, None]
            pairs = zip(after, states[-1], strict=True)
            after = tuple(xp.where(on, new, old) for new, old in pairs)
        states.append(after)
        kept.append(values)
    return states, kept


def back(
    xp: Arrays,
    cell: Cell,
    d: Any,
    states: Sequence[Values],
    kept: Sequence[Values],
    operands: Sequence[Any],
    reverse: bool,
) -> Any:
    """Return the flat cotangents: dp [t, b, gates * h], du if it differs, the first states'.

    d: the cotangents of h at all times and, if there is one, of the last c, laid out as in
    `kernels/rnn.cl`.
    """
    _, weight, _, lengths = given(cell, operands)
    steps = len(kept)
    rows = _order(steps + cell.states - 1, reverse)
    ds: Values = (0.0, d[rows[steps]]) if cell.states == 2 else (0.0,)
    dps: list[Any] = [None] * steps
    dus: list[Any] = [None] * steps
    for s in range(steps, 0, -1):
        t = _order(steps, reverse)[s - 1]
        ds = (ds[0] + d[rows[s - 1]], *ds[1:])
        dp, du, through = cell.back(xp, kept[s - 1], states[s - 1], states[s], ds)
        dps[t], dus[t] = xp.cat(dp, -1), xp.cat(du, -1)
        if lengths is not None:
            on = (lengths > t)[:, None]
            dps[t], dus[t] = xp.where(on, dps[t], 0.0), xp.where(on, dus[t], 0.0)
            pairs = zip(through, ds, strict=True)
            through = tuple(xp.where(on, new, old) for new, old in pairs)
        ds = (through[0] + dus[t] @ weight, *through[1:])
    flat = [x.reshape(-1) for x in (*dps, *(dus if cell.apart else ()), *ds)]
    return xp.cat(flat, 0)
