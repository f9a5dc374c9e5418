"""Passes over recurrent layers, as GPUs make them, against the records' NumPy references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import clnet as cn
from clnet import core
from clnet.engine import run
from clnet.ops import recurrent
from clnet.ops.cells import CELLS, Cell
from clnet.ops.recurrent_launch import LayerSizes
from clnet.records import OPS

# Steps, batch, features: 1, primes, and around tiles of 16, 32 and 64 columns and 4 to 64 rows.
SIZES = [(1, 1, 1), (3, 17, 65), (2, 64, 128)]
TUNING = {
    "a step a launch": {"tile_k": 32, "slices": 1, "whole": 0},
    "slices": {"tile_k": 16, "slices": 4, "whole": 32},
    "all steps": {"tile_k": 64, "slices": 2, "whole": 128},
}

Pretend = Callable[..., None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Return a function that lets records choose as on a GPU, tuned in that way."""
    real = run.target

    def chosen(tuning: dict[str, int], **facts: int) -> None:
        def target(on: Any) -> run.DeviceTarget:
            return replace(real(on), type="gpu", tuning={"rnn_tiled": tuning}, **facts)

        monkeypatch.setattr(run, "target", target)
        monkeypatch.setattr(core, "runtime", run.Engine())

    return chosen


def operands(cell: Cell, t: int, b: int, h: int, lengths: bool) -> list[np.ndarray]:
    random = np.random.default_rng(t + b + h)
    shapes = [(t, b, cell.gates * h), *[(b, h)] * cell.states]
    found = [random.normal(size=s) for s in shapes]
    found += [random.normal(size=(cell.gates * h, h)) / h**0.5, random.normal(size=cell.gates * h)]
    return found + [random.integers(1, t + 1, b).astype(np.int32)] * lengths


def check(cell: Cell, size: tuple[int, int, int], lengths: bool, reverse: bool, dtype: str) -> None:
    """Compare both passes with their references, in float64."""
    given = operands(cell, *size, lengths)
    sizes = LayerSizes(*size)
    # 16-bit floats are rounded once, when they are written.
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-5, "float64": 1e-12}[dtype]
    of = getattr(cn, dtype)
    # What the device is given is what the reference gets.
    held = [cn.tensor(x) if x.dtype == np.int32 else cn.tensor(x).to(dtype=of) for x in given]
    wide = [x.numpy() if x.dtype is cn.int32 else x.double().numpy() for x in held]
    forward, backward = OPS[f"{cell.name}_states"], OPS[f"{cell.name}_backward"]
    found = forward(*held, reverse=reverse, keep=True)
    expected = forward.reference(*wide, reverse=reverse, keep=True)
    np.testing.assert_allclose(found.double().numpy(), expected, tolerance, tolerance)
    d = np.random.default_rng(0).normal(size=(sizes.t + cell.states - 1, sizes.b, sizes.h))
    before = [cn.tensor(d).to(dtype=of), cn.tensor(expected).to(dtype=of)]
    found = backward(*before, *held, reverse=reverse)
    expected = backward.reference(*(x.double().numpy() for x in before), *wide, reverse=reverse)
    largest = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found.double().numpy(), expected, tolerance, tolerance * largest)


@pytest.mark.parametrize("how", TUNING)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize(
    "number",
    # A CPU takes 5 s to compile a way of a size; those that differ least wait for -m slow.
    [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)],
)
def test_passes_equal_their_references(number: int, cell: Cell, how: str, pretend: Pretend) -> None:
    # Few compute units: work-items take several rows.
    pretend(TUNING[how], compute_units=2 if number % 2 else 100)
    check(cell, SIZES[number], bool(number % 3), number % 2 == 0, "float32")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_passes_in_other_dtypes(dtype: str, pretend: Pretend) -> None:
    if dtype == "float64" and not cn.device().caps.fp64:
        pytest.skip("the device has no float64")
    for cell, how in zip(CELLS[2:], ("slices", "all steps"), strict=True):
        pretend(TUNING[how])
        check(cell, (4, 5, 33), True, True, dtype)


@pytest.mark.parametrize("how", ["slices", "all steps"])
def test_tiles_fit_the_device(how: str, pretend: Pretend) -> None:
    """Check that a device with small work-groups and little local memory gets smaller tiles."""
    pretend(TUNING[how], max_work_group=256, local_memory=16 << 10, compute_units=1)
    check(CELLS[2], (2, 70, 65), False, False, "float32")
    if cn.device().caps.fp64:
        check(CELLS[2], (2, 5, 64), False, False, "float64")


def test_a_device_without_room_for_tiles(pretend: Pretend) -> None:
    """Check that work-groups below a tile's size take the kernels of one item."""
    pretend(TUNING["slices"], max_work_group=64)
    assert not recurrent.whole_sequence("lstm", cn.zeros(2, 3, 16))
    check(CELLS[2], (2, 5, 33), False, False, "float32")


@pytest.mark.oclgrind
@pytest.mark.parametrize("how", TUNING)
def test_one_pass_of_each_way(how: str, pretend: Pretend) -> None:
    """Run each way once, small, so that Oclgrind sees its memory accesses and barriers."""
    pretend(TUNING[how], compute_units=1)
    check(CELLS[3], (2, 17, 18 if how == "a step a launch" else 33), True, False, "float32")
