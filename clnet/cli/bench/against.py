"""Other libraries on the same work, each in a process of its own, asked in turn."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clnet.cli.bench import peer
from clnet.cli.bench.work import Work
from clnet.cli.child import Child, ChildError
from clnet.errors import ClnetError
from clnet.records import Sample

PEERS = tuple(peer.PLACES)
ROUNDS, PATIENCE = 3, 120.0


class Peers:
    """The processes of libraries, those that are there; `said` tells which are, and why not.

    `pythons` are other interpreters for some of them. `index` names the OpenCL device,
    'platform:device', for those that use one.
    """

    def __init__(
        self, names: Sequence[str], pythons: Mapping[str, str], index: str = "0:0"
    ) -> None:
        unknown = [name for name in (*names, *pythons) if name not in PEERS]
        if unknown:
            raise ClnetError(
                f"nothing is known of {', '.join(unknown)}; choose of {', '.join(PEERS)}"
            )
        script = str(Path(peer.__file__))
        self.children: dict[str, Child] = {}
        self.said: list[str] = []
        for name in names:
            child = Child([pythons.get(name, sys.executable), script, name, index])
            try:
                there, words = child.ask(None, PATIENCE)
            except ChildError as error:
                there, words = False, f"{name} is left out: {error}"
            self.said.append(words)
            if there:
                self.children[name] = child
            else:
                child.close()

    def close(self) -> None:
        """End the processes."""
        for child in self.children.values():
            child.close()

    def able(self, work: Work) -> list[str]:
        """Return the libraries whose op of this name gives our reference's result on a sample."""
        return [name for name in self.children if self._agrees(name, work)]

    def seconds(self, name: str, work: Work, budget: float) -> float | None:
        """Return the median seconds of a library, None where it fails."""
        return self._ask(name, work, work.sample, max(budget, 1e-9))

    def _agrees(self, name: str, work: Work) -> bool:
        sample = work.op.samples[0]
        if any(arg.number or arg.dtype for arg in sample.args) or work.dtype.name == "bfloat16":
            return False
        found = self._ask(name, work, sample, 0.0)
        if found is None:
            return False
        values = peer.drawn(_request(work, sample, 0.0)["args"])
        with np.errstate(all="ignore"):
            expected = np.asarray(work.op.reference(*values, **sample.attrs))
        got = np.asarray(found)
        return got.shape == expected.shape and np.allclose(got, expected, 1e-2, 1e-3, True)

    def _ask(self, name: str, work: Work, sample: Sample, budget: float) -> Any:
        try:
            return self.children[name].ask(_request(work, sample, budget), PATIENCE)
        except ChildError:
            return None


def _request(work: Work, sample: Sample, budget: float) -> dict[str, Any]:
    args = [(arg.shape, work.dtype.name, arg.low, arg.high) for arg in sample.args]
    attrs = {name: value for name, value in sample.attrs.items() if name != "dtype"}
    return {"op": work.op.name, "args": args, "attrs": attrs, "seconds": budget}


def medians(rounds: Sequence[float | None]) -> float | None:
    """Return the median over rounds, None where one failed."""
    known = [seconds for seconds in rounds if seconds is not None]
    return statistics.median(known) if len(known) == len(rounds) else None
