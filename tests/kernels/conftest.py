"""Kernels are run through the graph, as on a CPU and as if the device were a GPU."""

from __future__ import annotations

import pytest

from clnet import core
from clnet.engine import run


@pytest.fixture(params=["cpu", "gpu"])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let records choose the variants that they would on this type of device."""
    real = run.target

    def pretended(on: object) -> run.DeviceTarget:
        facts = real(on)  # type: ignore[arg-type]
        return run.DeviceTarget(
            request.param, facts.local_memory, facts.max_work_group, 2, facts.tuning
        )

    monkeypatch.setattr(run, "target", pretended)
    monkeypatch.setattr(core, "runtime", run.Engine())
    return str(request.param)
