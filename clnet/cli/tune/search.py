"""The search of a kernel's parameter space: one parameter after the other, until none helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clnet.cli.child import Child, ChildError
from clnet.tunables import Tunable

# A candidate must take this part of the best's time: less than that is within the noise.
MARGIN = 0.97
PATIENCE = 120.0  # seconds for one candidate: its kernels are built, checked and timed in them

Parameters = dict[str, int]


@dataclass
class Found:
    """What is known so far of a kernel.

    `gain` is the start's time over the best's; `refused` are candidates that gave wrong results,
    crashed or hung, with the reason in words.
    """

    space: Tunable
    start: Parameters
    best: Parameters
    gain: float = 1.0
    tried: int = 1
    refused: list[tuple[Parameters, str]] = field(default_factory=list)


def search(found: Found, child: Child, step: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Improve `found.best` until no change of one parameter makes the kernel faster.

    That is coordinate descent: it ends early on spaces where parameters are nearly independent, as
    tiles are. `step` is called before each candidate. Interrupted, it leaves the best so far.
    """
    seen = [found.start]
    improved = True
    while improved:
        improved = False
        for name, values in found.space.parameters.items():
            for value in values:
                candidate = {**found.best, name: value}
                if candidate in seen:
                    continue
                seen.append(candidate)
                step()
                found.tried += 1
                ratio = _ratio(found, child, candidate, found.best, patience)
                if ratio < MARGIN:
                    found.best = candidate
                    found.gain /= ratio
                    improved = True
    if found.best != found.start:
        # The product of the steps' ratios has their noise; measure the whole.
        found.gain = 1 / _ratio(found, child, found.best, found.start, patience)


def _ratio(
    found: Found, child: Child, candidate: Parameters, best: Parameters, patience: float
) -> float:
    """Return the candidate's time over the best's; infinity where it is refused."""
    request = {"kernel": found.space.kernel, "candidate": candidate, "best": best}
    try:
        answer = child.ask(request, patience)
    except ChildError as error:
        answer = {"wrong": str(error)}
    if "wrong" in answer:
        found.refused.append((candidate, answer["wrong"]))
        return float("inf")
    return float(answer["ratio"])
