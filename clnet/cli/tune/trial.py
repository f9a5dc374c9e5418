"""Candidates for a kernel's parameters, checked and timed: the process that `clnet tune` starts.

`python -m clnet.cli.tune.trial 0:0` answers requests about that device, lines of JSON.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clnet.cli.child import serve
from clnet.device import device, set_default_device
from clnet.dtypes import float32
from clnet.engine.graph import Graph
from clnet.engine.plan import Plan
from clnet.engine.run import Program, target
from clnet.errors import ClnetError
from clnet.records import OPS, Op, Sample
from clnet.testing.forward import Case, make_case
from clnet.testing.operands import host_values
from clnet.testing.tolerance import difference, kind_of
from clnet.tunables import TUNABLES, Tunable

# Seconds of timing for one piece of work, and rounds after which a slow candidate is given up.
_ENOUGH, _LEAST_ROUNDS, _MOST_ROUNDS = 0.4, 3, 50
_HOPELESS = 1.2

Parameters = dict[str, int]


class WholeNumbers(np.random.Generator):
    """Draws whole numbers: sums of their products are exact, so their order does not matter."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Draw from the whole numbers of a range."""
        return np.rint(super().uniform(low, high, size))


@dataclass
class Prepared:
    """An op on random operands, its kernels built; `run` computes it."""

    case: Case
    run: Callable[[], None]


class Trials:
    """Candidates for one kernel; what is known of the oracle and of the best is kept."""

    def __init__(self, space: Tunable) -> None:
        self.space = space
        self.op = OPS[space.op]
        assert self.op.sizes is not None, f"{space.op}: its record has no sizes"
        works = [self.op.sizes.at(numbers) for numbers in space.work]
        self._first_work = len(self.op.samples)
        self._samples = [*self.op.samples, *works]
        self._expected: dict[int, np.ndarray] = {}
        self._prepared: dict[Any, Prepared] = {}

    def compare(self, candidate: Parameters, best: Parameters) -> dict[str, Any]:
        """Return the ratio of a candidate's times to the best's, or 'wrong' in words.

        Every result is compared with that of the op's plain kernel (without one: of its NumPy
        reference), on the samples of its record and on the work. The timing is interleaved, and
        stops early for candidates that are clearly slower.
        """
        for number in range(len(self._samples)):
            wrong = self._wrong(number, candidate)
            if wrong is not None:
                return {"wrong": wrong}
        times = [
            _interleaved(self._ready(number, candidate).run, self._ready(number, best).run)
            for number in range(self._first_work, len(self._samples))
        ]
        self._prepared = {key: p for key, p in self._prepared.items() if key[1] == _key(best)}
        ratio = math.exp(statistics.fmean(math.log(a / b) for a, b in times))
        return {"ratio": ratio, "seconds": times}

    def _ready(self, number: int, parameters: Parameters) -> Prepared:
        key = (number, _key(parameters))
        if key not in self._prepared:
            tuning = {self.space.kernel: parameters}
            self._prepared[key] = _prepare(self.op, self._samples[number], tuning)
        return self._prepared[key]

    def _wrong(self, number: int, parameters: Parameters) -> str | None:
        """Say how a candidate's result differs from the oracle's, or return None."""
        case = self._ready(number, parameters).case
        op, spec = self.op, case.result.node.spec
        if op.plain is None:
            return case.failure()
        if number not in self._expected:
            oracle = _prepare(replace(op, kernel=op.plain), self._samples[number], {})
            self._expected[number] = host_values(oracle.case.result)
        got, expected = host_values(case.result), self._expected[number]
        wrong = difference(got, expected, spec.dtype, kind_of(op, spec.dtype))
        return None if wrong is None else f"{case.op.name} {case.title}: {wrong}"


def _key(parameters: Parameters) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(parameters.items()))


def _prepare(op: Op, sample: Sample, tuning: Mapping[str, Parameters]) -> Prepared:
    """Record an op on whole numbers, build it as if the tuning table were `tuning`, and run."""
    on = device()
    random = WholeNumbers(np.random.PCG64(0))
    case = make_case(op, sample, [float32] * len(sample.args), "contiguous", random)
    graph = Graph([case.result.node])
    program = Program(Plan(graph, replace(target(on), tuning=tuning), None), on, {})
    program.run(graph.nodes)
    return Prepared(case, lambda: program.run(graph.nodes))


def _interleaved(candidate: Callable[[], None], best: Callable[[], None]) -> tuple[float, float]:
    """Return the medians of the seconds that two runs take, in turn."""
    on = device()
    taken: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    for turn in range(_MOST_ROUNDS):
        for run, seconds in zip((candidate, best), taken, strict=True):
            on.synchronize()
            start = time.perf_counter()
            run()
            on.synchronize()
            seconds.append(time.perf_counter() - start)
        if turn + 1 >= _LEAST_ROUNDS:
            hopeless = min(taken[0]) > _HOPELESS * min(taken[1])
            if hopeless or time.perf_counter() - began > _ENOUGH:
                break
    return statistics.median(taken[0]), statistics.median(taken[1])


_trials: dict[str, Trials] = {}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request: the kernel's name, a candidate and the best parameters so far."""
    try:
        name = request["kernel"]
        if name not in _trials:
            _trials[name] = Trials(TUNABLES[name])
        return _trials[name].compare(request["candidate"], request["best"])
    except ClnetError as error:
        return {"wrong": str(error)}


if __name__ == "__main__":
    set_default_device(sys.argv[1])
    serve(answer)
