"""Timing: medians, their noise, and what they are of the device's limits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from clnet.cli.bench.work import Work
from clnet.core import Tensor, evaluate
from clnet.device import Device, device
from clnet.device.limits import Limits
from clnet.testing.forward import make_case

LEAST, MOST = 5, 200


@dataclass
class Figures:
    """Times of one piece of work, in seconds; `flops` and `nbytes` are its record's.

    `noise` is half the distance between the quartiles of the times, over their median. `others`
    are the medians of other libraries.
    """

    title: str
    seconds: float
    noise: float
    flops: float
    nbytes: float
    others: dict[str, float | None] = field(default_factory=dict)

    def limit(self, most: Limits) -> float:
        """Return the part that was reached of the limit that binds, 0 to 1."""
        return max(self.flops / most.flops, self.nbytes / most.bandwidth) / self.seconds

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def step_of(work: Work) -> tuple[Callable[[], None], float, float]:
    """Return a step that records, computes and waits for an op; its flops and bytes."""
    on = device()
    random = np.random.default_rng(0)
    dtypes = [work.dtype] * len(work.sample.args)
    case = make_case(work.op, work.sample, dtypes, "contiguous", random)
    inputs = case.result.node.inputs
    operands = [Tensor(node) for node in inputs]
    assert work.op.cost is not None
    specs = [node.spec for node in inputs]
    flops, nbytes = work.op.cost(case.result.node.spec, *specs, **case.attrs)

    def step() -> None:
        evaluate(work.op(*operands, **case.attrs))
        on.synchronize()

    return step, flops, nbytes


def times_of(step: Callable[[], None], budget: float) -> list[float]:
    """Return the seconds of steps for about `budget` seconds, after two that warm up."""
    for _ in range(2):
        step()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < LEAST or (len(times) < MOST and time.perf_counter() - began < budget):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def figures(title: str, times: list[float], flops: float, nbytes: float) -> Figures:
    """Sum up times."""
    low, middle, high = statistics.quantiles(times, n=4)
    return Figures(title, middle, (high - low) / 2 / middle, flops, nbytes)


def summary(on: Device, most: Limits, also: Any) -> dict[str, Any]:
    """Return the device and its limits as JSON values."""
    return {"device": str(on), **asdict(most), **asdict(also)}
